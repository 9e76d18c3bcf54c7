"""Which releases the tests run on, and how a test asks for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

NEWEST = ("vllm==0.32.0", "vllm-ascend==0.18.0", "vllm-ascend==0.30.0rc2")
"""The newest of them, and the one that most teams run: what costly tests run on when time is short."""

CONTRACT = (
    *("vllm==0.13.0", "vllm==0.32.0", "vllm==0.33.0"),
    *("vllm-ascend==0.9.1rc1", "vllm-ascend==0.13.0", "vllm-ascend==0.15.0rc1", "vllm-ascend==0.18.0"),
    *("vllm-ascend==0.21.0rc1", "vllm-ascend==0.23.0", "vllm-ascend==0.23.0.post1", "vllm-ascend==0.26.0rc1"),
    "vllm-ascend==0.30.0rc2",
)
"""The releases that the usual run asks for the whole contract: the first and the last that are served of vLLM alone,
the stable ones of vllm-ascend, and of the others one of each code that attention, rotation or decode have there."""


def version(pair: Pair) -> tuple[int, int]:
    """The first two numbers of its vLLM."""
    major, minor, *_ = pair.vllm.split(".")
    return int(major), int(minor)


def by_name(pairs: Sequence[Pair]) -> Any:
    """Parametrises a test over pairs; ``-k vllm-ascend-0.18.0`` picks one."""
    return pytest.mark.parametrize("pair", pairs, scope="module", ids=map(_id, pairs))


def _id(pair: Pair) -> str:
    return pair.name.replace("==", "-")


NAMES = tuple(map(_id, PAIRS))
"""The names of pairs in the names of tests."""


def release_and_file(nodeid: str) -> str:
    """The file of a test and the release that it is parametrised with, if it is with one."""
    file, _, test = nodeid.partition("::")
    given = test.partition("[")[2].rstrip("]")
    fitting = [name for name in NAMES if name in given]
    return f"{file} {max(fitting, key=len, default='')}"
