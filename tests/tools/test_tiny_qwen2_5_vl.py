"""tools/tiny_qwen2_5_vl.py: a checkpoint that is complete, and whose vision layers alternate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import tiny_qwen2_5_vl  # noqa: E402
import tiny_qwen3_vl  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen2_5_vl.write(tmp_path_factory.mktemp("checkpoint"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_the_same_byte_for_byte_each_time(checkpoint: Path, tmp_path: Path) -> None:
    assert contents(tiny_qwen2_5_vl.write(tmp_path)) == contents(checkpoint)


def test_it_has_the_files_that_the_other_one_has(checkpoint: Path, tmp_path: Path) -> None:
    assert contents(checkpoint).keys() == contents(tiny_qwen3_vl.write(tmp_path)).keys()


def test_layers_that_look_at_windows_and_at_whole_frames_alternate(checkpoint: Path) -> None:
    vision = json.loads((checkpoint / "config.json").read_text())["vision_config"]
    assert [layer in vision["fullatt_block_indexes"] for layer in range(vision["depth"])] == [False, True] * 2


def test_the_command_says_where_it_wrote(checkpoint: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "tools" / "tiny_qwen2_5_vl.py", tmp_path / "new"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{tmp_path / 'new'}\n"
    assert contents(tmp_path / "new") == contents(checkpoint)
