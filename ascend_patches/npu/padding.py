"""Heads padded with zeros to a size that an op takes, in buffers that live for one encoder call.

A buffer is zeroed when it is made. Layers write the heads and never the tail behind them, so the tail stays zero, and
a layer costs one copy where padding would allocate, clear and copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional

from ascend_patches.npu.encoder_call import EncoderCall, current_call


class Buffer:
    """Packed memory [tokens, heads, padded size], and the part of it that holds heads [batch, tokens, heads, size]."""

    def __init__(self, like: torch.Tensor, padded_size: int, make: Callable[..., torch.Tensor]) -> None:
        batch, tokens, heads, size = like.shape
        whole = make((batch, tokens, heads, padded_size), dtype=like.dtype, device=like.device)
        self.packed = whole.view(batch * tokens, heads, padded_size)
        self.heads = whole[..., :size]


def padded(name: str, tensor: torch.Tensor, padded_size: int) -> torch.Tensor:
    """[batch, tokens, heads, size] packed as [batch * tokens, heads, padded size], with zeros behind each head.

    What is returned under a name is overwritten when the next layer of the same encoder call asks under that name.
    """
    call = _call_with_buffers()
    if call is None:
        packed = tensor.reshape(-1, *tensor.shape[2:])
        return torch.nn.functional.pad(packed, (0, padded_size - tensor.shape[3]))
    buffer = _buffer(call, name, tensor, padded_size, torch.zeros)
    buffer.heads.copy_(tensor)
    return buffer.packed


def output_buffer(name: str, like: torch.Tensor, padded_size: int) -> Buffer:
    """Room for an op's output beside heads like these, kept for the next layer of the same encoder call."""
    call = _call_with_buffers()
    if call is None:
        return Buffer(like, padded_size, torch.empty)
    return _buffer(call, name, like, padded_size, torch.empty)


def _call_with_buffers() -> EncoderCall | None:
    # A gradient would need what the next layer overwrites.
    return None if torch.is_grad_enabled() else current_call()


def _buffer(
    call: EncoderCall, name: str, like: torch.Tensor, padded_size: int, make: Callable[..., torch.Tensor]
) -> Buffer:
    key = (name, like.shape, padded_size, like.dtype, like.device, stream_of(like.device))
    buffer: Buffer | None = call.buffers.get(key)
    if buffer is None:
        buffer = call.buffers[key] = Buffer(like, padded_size, make)
    return buffer


def stream_of(device: torch.device) -> int:
    """Which stream writes: two streams of one call must not write into the same memory."""
    if device.type == "cpu":
        return 0
    backend: Any = getattr(torch, device.type)
    stream: int = backend.current_stream().stream_id
    return stream
