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

_PACKED = "packed memory behind heads"
_CONTEXT = "memory for the context of a query"


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
    there: torch.Tensor | None = call.recall(_PACKED, (tensor,))
    if there is not None and there.shape[-1] == padded_size:
        return there
    buffer = _buffer(call, name, tensor, padded_size, torch.zeros)
    buffer.heads.copy_(tensor)
    return buffer.packed


def output_buffer(name: str, like: torch.Tensor, padded_size: int) -> Buffer:
    """Room for an op's output beside heads like these, kept for the next layer of the same encoder call."""
    call = _call_with_buffers()
    if call is None:
        return Buffer(like, padded_size, torch.empty)
    return _buffer(call, name, like, padded_size, torch.empty)


class PackedQkv:
    """Packed memory for query, key and value of a layer, and for its context, for models that write and read there.

    Attention is given ``heads``, [1, tokens, heads, size] each, and knows the rest by them.
    """

    def __init__(self, call: EncoderCall, like: torch.Tensor, padded_size: int) -> None:
        _, tokens, heads, size = like.shape
        whole = torch.zeros((3, tokens, heads, padded_size), dtype=like.dtype, device=like.device)
        unpadded = whole[..., :size]
        query, key, value = self.heads = unpadded.split(1)
        self.query_and_key, self.value = unpadded[:2], value
        self.flat_context = torch.empty((tokens, heads * size), dtype=like.dtype, device=like.device)
        self.context = self.flat_context.view(like.shape)
        for heads_of, packed in zip((query, key, value), whole.unbind(0), strict=True):
            call.remember(_PACKED, (heads_of,), packed)
        call.remember(_CONTEXT, (query,), self.context)


def packed_qkv(like: torch.Tensor, padded_size: int) -> PackedQkv | None:
    """For heads like these, [1, tokens, heads, size]; None outside of encoder calls. Overwritten by the next layer."""
    call = _call_with_buffers()
    if call is None:
        return None
    key = ("query, key and value", like.shape, padded_size, like.dtype, like.device, stream_of(like.device))
    packed: PackedQkv | None = call.buffers.get(key)
    if packed is None:
        packed = call.buffers[key] = PackedQkv(call, like, padded_size)
    return packed


def context_of(query: torch.Tensor) -> torch.Tensor | None:
    """Where the context belongs, if the query came in packed memory: contiguous, overwritten by the next layer."""
    call = _call_with_buffers()
    found: torch.Tensor | None = call.recall(_CONTEXT, (query,)) if call is not None else None
    return found


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
