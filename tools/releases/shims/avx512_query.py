"""Answers a question that torch 2.13 no longer answers.

vLLM 0.16 and 0.17 ask ``torch._C._cpu._is_avx512_supported()`` while the CPU platform is imported. Later releases of
torch have the answer elsewhere; the releases use it to choose among compiled kernels, which are not there.
"""

from __future__ import annotations

from types import ModuleType

from ._after_import import after_import


def start() -> None:
    """Give torch the answer as soon as it is there."""
    after_import("torch", _answer)


def _answer(torch: ModuleType) -> None:
    if not hasattr(torch._C._cpu, "_is_avx512_supported"):
        torch._C._cpu._is_avx512_supported = lambda: False
