"""Heads padded with zeros to a size that an op takes, in buffers that live for one encoder call.

A buffer is what the first layer's heads are padded to. Layers write the heads and never the tail behind them, so the
tail stays zero, and every other layer costs one copy where padding would allocate, clear and copy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional

from ascend_patches.npu.encoder_call import EncoderCall, current_call


class Buffer:
    """Memory [batch, tokens, heads, padded size] as an op takes it, and the part of it that holds heads of a size."""

    def __init__(self, whole: torch.Tensor, size: int) -> None:
        self.packed = whole.flatten(0, 1)
        self.heads = whole[..., :size]


def padded(name: str, tensor: torch.Tensor, padded_size: int) -> torch.Tensor:
    """[batch, tokens, heads, size] packed as [batch * tokens, heads, padded size], with zeros behind each head.

    What is returned under a name is overwritten when the next layer of the same encoder call asks under that name.
    """
    call = _call_with_buffers()
    key = _key(name, tensor, padded_size)
    buffer: Buffer | None = call.buffers.get(key) if call is not None else None
    if buffer is not None:
        buffer.heads.copy_(tensor)
        return buffer.packed
    size: int = tensor.shape[3]
    whole = torch.nn.functional.pad(tensor, (0, padded_size - size))
    if call is None:
        return whole.flatten(0, 1)
    buffer = call.buffers[key] = Buffer(whole, size)
    return buffer.packed


def output_buffer(name: str, like: torch.Tensor, padded_size: int) -> Buffer:
    """Room for an op's output beside heads like these, kept for the next layer of the same encoder call."""
    call = _call_with_buffers()
    key = _key(name, like, padded_size)
    buffer: Buffer | None = call.buffers.get(key) if call is not None else None
    if buffer is None:
        buffer = Buffer(like.new_empty((*like.shape[:3], padded_size)), like.shape[3])
        if call is not None:
            call.buffers[key] = buffer
    return buffer


def kept_buffer(name: str, like: torch.Tensor, padded_size: int) -> Buffer:
    """The one that a layer of this encoder call has asked for under a name, for heads like these."""
    call = _call_with_buffers()
    assert call is not None
    found: Buffer = call.buffers[_key(name, like, padded_size)]
    return found


def _call_with_buffers() -> EncoderCall | None:
    # A gradient would need what the next layer overwrites.
    return None if torch.is_grad_enabled() else current_call()


def _key(name: str, like: torch.Tensor, padded_size: int) -> tuple[Any, ...]:
    return (name, like.shape, padded_size, like.dtype, like.device, stream_of(like.device))


def stream_of(device: torch.device) -> int:
    """Which stream writes: two streams of one call must not write into the same memory."""
    if device.type == "cpu":
        return 0
    backend: Any = getattr(torch, device.type)
    stream: int = backend.current_stream().stream_id
    return stream
