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


_OF_VLLM = ("tests/kernels/attention/test_mha_attn.py",)
"""Goldens of attention for encoders."""
_GOLDENS = "0.32.0"
"""The vLLM whose goldens are run on every release."""
_RELEASES = ("0.13.0", "0.18.0", "0.23.0", "0.30.0rc2")


@dataclass(frozen=True)
class Suite:
    """Tests out of one sdist, and the release that they are run on."""

    release: str
    distribution: str
    version: str
    patterns: tuple[str, ...]
    plugin: str = ""
    """A plugin of pytest that takes the place of the tests' own conftest."""

    @property
    def pair(self) -> Pair:
        return find(self.release)

    def title(self, path: str) -> str:
        """A file of tests as the page names it: with where it is from, unless that is the release itself."""
        from_elsewhere = f"{self.distribution}=={self.version}" != self.release
        return f"{path} of {self.distribution} {self.version}" if from_elsewhere else path


SUITES = (
    *(Suite(f"vllm-ascend=={each}", "vllm", _GOLDENS, _OF_VLLM, "peer_tests.vllm_goldens") for each in _RELEASES),
    *(Suite(f"vllm-ascend=={each}", "vllm-ascend", each, _OF_VLLM_ASCEND) for each in _RELEASES),
)
RELEASES = tuple(dict.fromkeys(suite.release for suite in SUITES))
