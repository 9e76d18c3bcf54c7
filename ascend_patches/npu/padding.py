"""Heads padded with zeros to a size that an op takes, in buffers that live for one encoder call.

A buffer is what the first layer's heads are padded to. Layers write the heads and never the tail behind them, so the
tail stays zero, and every other layer costs one copy where padding would allocate, clear and copy.
"""

from __future__ import annotations

from typing import Any

import torch

from ascend_patches.npu.encoder_call import EncoderCall, current_call


class Buffer:
    """Memory [batch, tokens, heads, padded size] as an op takes it, and the part of it that holds heads of a size."""

    def __init__(self, whole: torch.Tensor, heads: torch.Tensor) -> None:
        self.packed = whole.flatten(0, 1)
        self.heads = heads


class Memory:
    """The buffers of an encoder call that the current stream writes into; outside of calls none is kept."""

    def __init__(self, call: EncoderCall | None, device: torch.device) -> None:
        # A gradient would need what the next layer overwrites.
        self.lasts = call is not None and not torch.is_grad_enabled()
        self.buffers: dict[tuple[Any, ...], Any] = call.buffers if call is not None and self.lasts else {}
        self.stream = stream_of(device)


def padded(name: str, tensor: torch.Tensor, padded_size: int) -> torch.Tensor:
    """[batch, tokens, heads, size] packed as [batch * tokens, heads, padded size], with zeros behind each head.

    What is returned under a name is overwritten when the next layer of the same encoder call asks under that name.
    """
    return padding(name, tensor, padded_size, Memory(current_call(), tensor.device)).packed


def padding(name: str, tensor: torch.Tensor, padded_size: int, memory: Memory) -> Buffer:
    """The buffer of a name, with a tensor's heads in it."""
    key = (name, tensor.shape, padded_size, tensor.dtype, tensor.device, memory.stream)
    buffer: Buffer | None = memory.buffers.get(key)
    if buffer is not None:
        buffer.heads.copy_(tensor)
        return buffer
    size: int = tensor.shape[3]
    whole = torch.constant_pad_nd(tensor, (0, padded_size - size))
    # Without a call no layer writes into it again.
    buffer = memory.buffers[key] = Buffer(whole, whole[..., :size] if memory.lasts else tensor)
    return buffer


def output_buffer(name: str, like: torch.Tensor, padded_size: int, memory: Memory) -> Buffer:
    """Room for an op's output beside heads like these, kept for the next layer of the same encoder call."""
    key = (name, like.shape, padded_size, like.dtype, like.device, memory.stream)
    buffer: Buffer | None = memory.buffers.get(key)
    if buffer is None:
        whole = like.new_empty((*like.shape[:3], padded_size))
        buffer = memory.buffers[key] = Buffer(whole, whole[..., : like.shape[3]])
    return buffer


def stream_of(device: torch.device) -> int:
    """Which stream writes: two streams of one call must not write into the same memory."""
    if device.type == "cpu":
        return 0
    backend: Any = getattr(torch, device.type)
    stream: int = backend.current_stream().stream_id
    return stream
