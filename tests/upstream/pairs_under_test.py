"""Which releases the tests run on, and how a test asks for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from releases.pairs import PAIRS, Pair

RUNNABLE = [pair for pair in PAIRS if not pair.cannot_run]
OnPair = Callable[..., Any]

REPRESENTATIVE = (
    "vllm==0.32.0",
    "vllm-ascend==0.9.1rc1",
    "vllm-ascend==0.13.0",
    "vllm-ascend==0.18.0",
    "vllm-ascend==0.30.0rc2",
)
"""One release of every kind of code that patches meet: what a patch's own tests run on when time is short."""


def by_name(pairs: list[Pair]) -> Any:
    """Parametrises a test over pairs; ``-k vllm-ascend-0.18.0`` picks one."""
    return pytest.mark.parametrize("pair", pairs, scope="module", ids=[pair.name.replace("==", "-") for pair in pairs])
