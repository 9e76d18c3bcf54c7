"""Which tests of which release are run."""

from __future__ import annotations

from dataclasses import dataclass

from releases.pairs import Pair, find

_OF_VLLM_ASCEND = (
    "tests/ut/attention/**/test_*.py",
    "tests/ut/ops/test_*rotary*.py",
    "tests/ut/ops/test_*mm_encoder*.py",
    "tests/ut/ops/test_*mla*.py",
)
"""Unit tests of what our patches change, the ones of its numbers (``*_precision.py``) among them."""


@dataclass(frozen=True)
class Suite:
    """Tests out of one sdist, and the release that they are run on."""

    release: str
    distribution: str
    version: str
    patterns: tuple[str, ...]

    @property
    def pair(self) -> Pair:
        return find(self.release)


SUITES = {
    f"vllm-ascend=={version}": Suite(f"vllm-ascend=={version}", "vllm-ascend", version, _OF_VLLM_ASCEND)
    for version in ("0.13.0", "0.18.0", "0.23.0", "0.30.0rc2")
}
