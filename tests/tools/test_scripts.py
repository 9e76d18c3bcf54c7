"""The commands below tools/ have no ending: formatting and lint have to be told of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_is_named_where_ruff_looks_and_can_be_run() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["extend-include"]
    commands = [path for path in sorted((ROOT / "tools").iterdir()) if path.is_file() and not path.suffix]
    assert named == [f"tools/{command.name}" for command in commands]
    for command in commands:
        assert command.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n"), command
        assert os.access(command, os.X_OK), command
