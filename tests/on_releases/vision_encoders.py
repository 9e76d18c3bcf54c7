"""What vision encoders of a release cost, upstream and patched; measured once for all tests of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from on_releases.pairs_under_test import OnPair
from releases.pairs import Pair

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "vision_bench" / "measure.py"
LAYERS = 8
ENCODERS = ("Qwen3-VL", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-Omni", "GLM-4.1V", "Kimi-K2.5")

_measured: dict[str, Any] = {}


def measured(pair: Pair, on_pair: OnPair) -> Any:
    """What ``tools/bench_vision`` measures on a release."""
    if pair.name not in _measured:
        _measured[pair.name] = on_pair(pair, SCRIPT, str(LAYERS), *ENCODERS, ASCEND_PATCHES_RELEASE_FLOAT32="1")
    return _measured[pair.name]
