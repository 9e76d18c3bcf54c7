"""Attention of vision layers, with everything that the layers of an encoder call share bound at the first of them.

A layer has only its own projection to give: its query and key are rotated, copied with the value into padded memory
where heads are padded, given to the op, and copied out of it. What is shared belongs to the very tensors that layers
are given; a layer that is given others, or that would do anything else, shares nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any, NamedTuple

import torch

from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_attention import Plan, Standing, lengths_given
from ascend_patches.npu.encoder_call import CALLS, EncoderCall
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.neighbours import behind, hooked_everywhere
from ascend_patches.npu.padding import stream_of
from ascend_patches.npu.rotary_mul import Turn


class Heads(NamedTuple):
    """What a layer projects, [tokens, 3 * heads * size]: the heads of the query, then the key's, then the value's."""

    tokens: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def side_by_side(self) -> torch.Size:
        """Query and key as heads of one row."""
        return torch.Size((1, self.tokens, 2 * self.heads, self.size))


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
            self._query_key = (heads.side_by_side, (tokens * row, row, size, 1))
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


class Turning(NamedTuple):
    """How layers rotate their heads."""

    turn: Turn | None
    """None where each layer does it by a submodule of its own."""
    is_of: Callable[[Any], bool]
    """Whether a layer, which is given the same tensors, would do it so."""


Given = tuple[torch.Tensor | None, ...]
"""What layers are given: ``cu_seqlens``, lengths or None, and the tensors that a rotation goes by."""


class Shared(NamedTuple):
    """What the layers of a call share that are given the same tensors."""

    attention: SharedAttention
    given: Given
    tokens: int
    standing: Standing
    """What is behind the attention of these layers."""
    plan: Plan
    turning: Turning

    def is_of(self, layer: Any, x: torch.Tensor, given: Given) -> bool:
        """Whether a layer would do what the first one did, with the same tensors."""
        attention = layer._modules["attn"]
        return (
            all(map(is_, given, self.given))
            and x.shape[0] == self.tokens
            and behind(attention) is self.standing
            and self.standing.plan_of(attention) == self.plan
            and self.turning.is_of(layer)
            and not torch.is_grad_enabled()
        )


def shared_by_layers(
    layer: Any, x: torch.Tensor, given: Given, turning: Callable[..., Turning | None]
) -> Shared | None:
    """What a layer over [tokens, ...] shares with the others of its call; None where it has to go another way.

    ``turning(layer, *tensors, heads)`` is asked at the first layer; its None means another way for all of them.
    """
    if not CALLS.open or torch.compiler.is_compiling():
        return None
    call, key = CALLS.open[-1], id(given[0])
    try:
        shared: Shared | None = call.shared[key]
    except KeyError:
        shared = call.shared[key] = _settled(call, layer, x, given, turning)
    return shared if shared is not None and shared.is_of(layer, x, given) else None


def _settled(
    call: EncoderCall, layer: Any, x: torch.Tensor, given: Given, turning: Callable[..., Turning | None]
) -> Shared | None:
    """Asked once: whether Python is recorded, on which stream this runs, what is behind the submodules, the lengths."""
    cu_seqlens, sequence_lengths, *positions = given
    if cu_seqlens is None or any(each is None for each in positions) or torch.is_grad_enabled() or hooked_everywhere():
        return None
    attention, tokens = layer._modules["attn"], x.shape[0]
    standing: Standing | None = behind(attention)
    # A second dimension would be a batch.
    if standing is None or not serves() or not standing.serves() or x.shape[1:-1].numel() != 1:
        return None
    plan = standing.plan_of(attention)
    heads = Heads(
        tokens, layer.num_attention_heads_per_partition, layer.hidden_size_per_attention_head, x.dtype, x.device
    )
    if (plan.heads, plan.kv_heads, plan.head_size) != (heads.heads, heads.heads, heads.size):
        return None
    turns = turning(layer, *positions, heads)
    if turns is None:
        return None
    lengths = lengths_given(1, tokens, tokens, cu_seqlens, sequence_lengths)
    common = kernels.Common(*lengths, plan.heads, plan.kv_heads, plan.scale)
    bound = SharedAttention(call, heads, plan, common, side_by_side=turns.turn is not None)
    return Shared(bound, given, tokens, standing, plan, turns)


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
