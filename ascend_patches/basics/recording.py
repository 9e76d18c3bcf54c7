"""Whether Python is only being recorded: while a graph is captured, or a compiler traces. Imports torch alone."""

from __future__ import annotations

import torch


def being_recorded() -> bool:
    """Whether what runs now will be replayed without Python, so that no value may be kept from it or put into it."""
    return torch.compiler.is_compiling() or being_captured()


def being_captured() -> bool:
    """Whether a graph is captured on this stream."""
    npu = getattr(torch, "npu", None)
    return npu is not None and bool(npu.is_current_stream_capturing())
