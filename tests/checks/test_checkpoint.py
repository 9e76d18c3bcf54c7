"""Which encoder a checkpoint has, by its configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ascend_patches.checks import checkpoint
from ascend_patches.checks.encoders import EVERY_ENCODER


def folder(path: Path, model_type: str) -> str:
    (path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("model_type", checkpoint.MODELS)
def test_every_model_has_an_encoder_that_can_be_built(model_type: str, tmp_path: Path) -> None:
    assert checkpoint.title(folder(tmp_path, model_type)) in EVERY_ENCODER


def test_a_model_that_has_none_is_named_with_those_that_have(tmp_path: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match=r"is a 'llama', .* known: qwen2_vl, .*paddleocr_vl"):
        checkpoint.title(folder(tmp_path, "llama"))
