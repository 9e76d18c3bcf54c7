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


class Memory:
    """The buffers of an encoder call that the current stream writes into; outside of calls none is kept."""

    def __init__(self, call: EncoderCall | None, device: torch.device) -> None:
        # A gradient would need what the next layer overwrites.
        self._buffers: dict[tuple[Any, ...], Any] = {} if call is None or torch.is_grad_enabled() else call.buffers
        self._device = device
        self.stream = stream_of(device)

    def key(self, name: str, shape: torch.Size, dtype: torch.dtype, padded_size: int) -> tuple[Any, ...]:
        return (name, shape, dtype, padded_size, self._device, self.stream)

    def buffer(self, key: tuple[Any, ...]) -> Buffer | None:
        """The one that a layer has asked for, if one has."""
        return self._buffers.get(key)

    def kept(self, name: str, shape: torch.Size, dtype: torch.dtype, padded_size: int) -> Buffer:
        """The one that a layer has asked for under a name, for heads of a shape and of that type."""
        found: Buffer = self._buffers[self.key(name, shape, dtype, padded_size)]
        return found

    def keep(self, key: tuple[Any, ...], buffer: Buffer) -> Buffer:
        self._buffers[key] = buffer
        return buffer


def padded(name: str, tensor: torch.Tensor, padded_size: int, memory: Memory | None = None) -> torch.Tensor:
    """[batch, tokens, heads, size] packed as [batch * tokens, heads, padded size], with zeros behind each head.

    What is returned under a name is overwritten when the next layer of the same encoder call asks under that name.
    """
    memory = Memory(current_call(), tensor.device) if memory is None else memory
    key = memory.key(name, tensor.shape, tensor.dtype, padded_size)
    buffer = memory.buffer(key)
    if buffer is not None:
        buffer.heads.copy_(tensor)
        return buffer.packed
    size: int = tensor.shape[3]
    return memory.keep(key, Buffer(torch.nn.functional.pad(tensor, (0, padded_size - size)), size)).packed


def output_buffer(name: str, like: torch.Tensor, padded_size: int, memory: Memory) -> Buffer:
    """Room for an op's output beside heads like these, kept for the next layer of the same encoder call."""
    key = memory.key(name, like.shape, like.dtype, padded_size)
    found = memory.buffer(key)
    if found is not None:
        return found
    return memory.keep(key, Buffer(like.new_empty((*like.shape[:3], padded_size)), like.shape[3]))


def stream_of(device: torch.device) -> int:
    """Which stream writes: two streams of one call must not write into the same memory."""
    if device.type == "cpu":
        return 0
    backend: Any = getattr(torch, device.type)
    stream: int = backend.current_stream().stream_id
    return stream
