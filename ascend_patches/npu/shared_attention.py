"""Attention of a vision layer, with everything that the layers of an encoder call share bound at the first of them.

A layer has only its own projection to give: its query and key are rotated, copied with the value into padded memory
where heads are padded, given to the op, and copied out of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_attention import Plan
from ascend_patches.npu.encoder_call import EncoderCall
from ascend_patches.npu.padding import stream_of
from ascend_patches.npu.rotary_mul import Turn


class Heads(NamedTuple):
    """What a layer projects, [tokens, 3 * heads * size]: the heads of the query, then the key's, then the value's."""

    tokens: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device


class SharedAttention:
    """From a layer's projection to its context.

    With ``side_by_side``, query and key are rotated as heads of one row, which costs the op one copy of its strided
    input; otherwise as two rows, which costs it two, but leaves them apart.
    """

    def __init__(
        self, call: EncoderCall, heads: Heads, plan: Plan, common: kernels.Common, *, side_by_side: bool
    ) -> None:
        kernel = kernels.suited(plan.kernel, common, heads.dtype)
        self._heads, self._pads = heads, plan.pads
        self._room = _room(call, heads, plan.padded_size, kernel)
        self._attend = kernels.KERNELS[kernel](common, self._room.out)
        tokens, count, size = heads.tokens, heads.heads, heads.size
        self._width, row = count * size, 3 * count * size
        # Where nothing is padded, the op would have to copy both out of one row.
        if side_by_side and plan.pads:
            self._query_key = ((1, tokens, 2 * count, size), (tokens * row, row, size, 1))
            self._apart, self._into = (tokens, 2, count, size), self._room.by_token
        else:
            self._query_key = ((2, tokens, count, size), (self._width, row, size, 1))
            self._apart, self._into = (2, tokens, count, size), self._room.by_part
        self._value = ((tokens, count, size), (row, size, 1))

    def takes(self, projected: torch.Tensor) -> bool:
        """Whether a projection is what was expected when this was bound."""
        return projected.dtype is self._heads.dtype and projected.is_contiguous()

    def context(self, projected: torch.Tensor, turn: Turn) -> torch.Tensor:
        """[tokens, heads * size], which the next layer overwrites."""
        start = projected.storage_offset()
        turned = turn(projected.as_strided(*self._query_key, start)).view(self._apart)
        value = projected.as_strided(*self._value, start + 2 * self._width)
        if not self._pads:
            return self._attend(turned[0], turned[1], value).view(self._heads.tokens, self._width)
        room = self._room
        self._into.copy_(turned)
        room.value.copy_(value)
        output = self._attend(*room.packed)
        room.context.copy_(output[..., : self._heads.size])
        return room.flat_context


class _Room:
    """Memory that every layer of a call writes and reads: padded query, key and value, what comes out, the context."""

    def __init__(self, heads: Heads, padded_size: int, kernel: str) -> None:
        tokens, count, size, dtype, device = heads
        whole = torch.zeros((3, tokens, count, padded_size), dtype=dtype, device=device)
        unpadded = whole[..., :size]
        self.packed = whole.unbind(0)
        self.by_part = unpadded[:2]
        self.by_token = self.by_part.transpose(0, 1)
        self.value = unpadded[2]
        self.flat_context = torch.empty((tokens, count * size), dtype=dtype, device=device)
        self.context = self.flat_context.view(tokens, count, size)
        self.out = torch.empty_like(whole[0]) if kernel == kernels.FLASH_ATTENTION_UNPAD else None


def _room(call: EncoderCall, heads: Heads, padded_size: int, kernel: str) -> _Room:
    """The same for all layers alike, whatever their sequences."""
    key = ("room", heads, padded_size, kernel, stream_of(heads.device))
    room: _Room | None = call.buffers.get(key)
    if room is None:
        room = call.buffers[key] = _Room(heads, padded_size, kernel)
    return room
