"""No command line and no file makes the command end otherwise than with a documented exit code and an answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import World

COUNT = int(os.environ.get("COMMAND_LINES", "800"))
"""How many command lines are tried; COMMAND_LINES=10000 tries more than the usual run has time for."""

RUN = Path(__file__).with_name("command_lines_run.py")


@pytest.mark.parametrize("part", range(max(1, COUNT // 800)))
def test_no_command_line_and_no_file_leads_to_a_traceback(part: int, greeting: World, tmp_path: Path) -> None:
    count = str(min(COUNT, 800))
    result = greeting.python([str(RUN), count, f"seed {part}", str(tmp_path)])
    assert result.json["wrong"] == []
    assert min(result.json["ends"][code] for code in ("0", "1", "2")) > 30  # all kinds of ends were met
