"""tools/tiny_qwen3_vl.py: a checkpoint that is complete, and the same wherever it is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import tiny_qwen3_vl  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3_vl.write(tmp_path_factory.mktemp("checkpoint"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_the_same_byte_for_byte_each_time(checkpoint: Path, tmp_path: Path) -> None:
    assert contents(tiny_qwen3_vl.write(tmp_path)) == contents(checkpoint)


def test_another_seed_changes_the_weights_alone(checkpoint: Path, tmp_path: Path) -> None:
    other, this = contents(tiny_qwen3_vl.write(tmp_path, seed=1)), contents(checkpoint)
    assert [name for name in this if other[name] != this[name]] == ["model.safetensors"]


def test_the_weights_fill_their_file_without_a_gap(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    spans = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert 8 + length + spans[-1][1] == len(content)


def test_the_tokenizer_has_every_byte_and_the_ids_that_the_model_is_told_of(checkpoint: Path) -> None:
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    config = json.loads((checkpoint / "config.json").read_text())
    assert sorted(vocabulary.values()) == list(range(config["text_config"]["vocab_size"]))
    assert vocabulary["<|image_pad|>"] == config["image_token_id"]


def test_the_command_says_where_it_wrote(checkpoint: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "tools" / "tiny_qwen3_vl.py", tmp_path / "new" / "folder"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{tmp_path / 'new' / 'folder'}\n"
    assert contents(tmp_path / "new" / "folder") == contents(checkpoint)
