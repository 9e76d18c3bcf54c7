"""Attention of a multimodal encoder by a plan of its layer, with lengths that are already on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.host_lengths import Lengths, LengthsError, known_lengths, lengths_in, lengths_of
from ascend_patches.npu.padding import output_buffer, padded

_PLAN = "_ascend_patches_plan"


class Plan(NamedTuple):
    """What does not change between two calls of a layer."""

    kernel: str
    scale: float
    heads: int
    kv_heads: int
    head_size: int
    padded_size: int

    @property
    def pads(self) -> bool:
        return self.padded_size > self.head_size


class Standing(NamedTuple):
    """What a replacement of MMEncoderAttention's forward stands for: attention by the plan of a layer."""

    plan_of: Callable[[Any], Plan]
    serves: Callable[[], bool]
    """Whether it goes by the plan here and now, or as the release."""


def known_plan(layer: Any) -> Plan | None:
    """The plan that a layer keeps, if it has one."""
    plan: Plan | None = layer.__dict__.get(_PLAN)
    return plan


def keep_plan(layer: Any, plan: Plan) -> None:
    """Have a layer keep its plan."""
    setattr(layer, _PLAN, plan)


def forward(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention over [batch, tokens, heads * size] or [batch, tokens, heads, size]; the output has the same form."""
    by_head = query.dim() == 4
    batch, tokens = query.shape[:2]
    lengths, key_lengths = lengths_given(batch, tokens, key.shape[1], cu_seqlens, sequence_lengths)
    output = attend(
        plan,
        _by_head(query, plan.heads, plan.head_size),
        _by_head(key, plan.kv_heads, plan.head_size),
        _by_head(value, plan.kv_heads, plan.head_size),
        lengths,
        key_lengths,
    )
    return output if by_head else output.view(batch, tokens, plan.heads * plan.head_size)


def attend(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Lengths,
    key_lengths: Lengths,
) -> torch.Tensor:
    """Attention over [batch, tokens, heads, size], contiguous, in memory of its own."""
    common = kernels.Common(lengths, key_lengths, plan.heads, plan.kv_heads, plan.scale)
    kernel = kernels.suited(plan.kernel, common, query.dtype)
    if not plan.pads:
        return kernels.KERNELS[kernel](common, None)(*(each.flatten(0, 1) for each in (query, key, value))).view(
            query.shape
        )
    size = plan.padded_size
    packed = (padded("query", query, size), padded("key", key, size), padded("value", value, size))
    if kernel == kernels.FLASH_ATTENTION_UNPAD:
        room = output_buffer("output", query, size)
        kernels.flash_attention_unpad(common, room.packed)(*packed)
        # Not contiguous(): of a single head that would be the buffer itself, which the next layer overwrites.
        return room.heads.clone(memory_format=torch.contiguous_format)
    output = kernels.KERNELS[kernel](common, None)(*packed)
    return output[..., : plan.head_size].reshape(query.shape).contiguous()


def _by_head(tensor: torch.Tensor, heads: int, size: int) -> torch.Tensor:
    return tensor if tensor.dim() == 4 else tensor.view(*tensor.shape[:2], heads, size)


def lengths_given(
    batch: int,
    tokens: int,
    key_tokens: int,
    cu_seqlens: torch.Tensor | None,
    sequence_lengths: torch.Tensor | None,
) -> tuple[Lengths, Lengths]:
    """The lengths of queries and keys; the same object where they are the same."""
    lengths = _query_lengths(batch * tokens, cu_seqlens, sequence_lengths)
    if lengths is None:
        lengths = Lengths([tokens] * batch)
        return lengths, lengths if key_tokens == tokens else Lengths([key_tokens] * batch)
    if key_tokens == tokens:
        return lengths, lengths
    if key_tokens % tokens:
        raise LengthsError(
            f"cu_seqlens tells the lengths of {tokens} query tokens; for {key_tokens} key tokens, which is no multiple "
            f"of that, it tells nothing: {lengths}"
        )
    return lengths, lengths.times(key_tokens // tokens)


def _query_lengths(
    tokens: int, cu_seqlens: torch.Tensor | None, sequence_lengths: torch.Tensor | None
) -> Lengths | None:
    """The lengths that the caller gave in either way, by the cheapest; None where each row is one sequence."""
    if cu_seqlens is None:
        return lengths_in(sequence_lengths) if sequence_lengths is not None else None
    known = known_lengths(cu_seqlens, tokens)
    if known is not None:
        return known
    if sequence_lengths is not None and sequence_lengths.device.type == "cpu":
        return lengths_in(sequence_lengths)
    return lengths_of(cu_seqlens)
