"""A side of a comparison: it answers, says why it ended, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from ascend_patches.commands.side_process import SideError, SideProcess

ANSWERS = """
from ascend_patches.commands import side_process
import tempfile, os
class Side:
    def folder(self): return tempfile.mkdtemp()
    def end(self): os._exit(3)
side_process.answer(Side)
os._exit(0)
"""


@pytest.fixture
def side() -> SideProcess:
    return SideProcess("patched", [sys.executable, "-c", ANSWERS], dict(os.environ))


def test_what_a_side_leaves_in_temporary_folders_goes_with_it(side: SideProcess) -> None:
    with closing(side):
        folder = Path(side.ask("folder"))
        assert folder.is_dir()
        assert folder.parent != Path(tempfile.gettempdir())
    assert not folder.exists()
    assert not folder.parent.exists()


def test_the_same_where_the_side_ended_by_itself(side: SideProcess) -> None:
    with closing(side):
        folder = Path(side.ask("folder"))
        with pytest.raises(SideError, match="the patched side ended with 3"):
            side.ask("end")
    assert not folder.parent.exists()
