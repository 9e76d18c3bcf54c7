"""Attention of a multimodal encoder by a plan of its layer, with lengths that are already on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ascend_patches.basics.recording import being_captured
from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_call import CALLS, current_call
from ascend_patches.npu.host_lengths import Lengths, LengthsError, known_lengths, lengths_from, lengths_in, lengths_of
from ascend_patches.npu.padding import Buffer, Memory, output_buffer, padding, stream_of

_PLAN = "_ascend_patches_plan"
_OUTPUT = "output"


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
    """Attention over [batch, tokens, heads * size] or [batch, tokens, heads, size]; the output has the same form.

    What it finds out for one layer, layers alike need not ask in the same encoder call.
    """
    output = as_before(plan, query, key, value, cu_seqlens, sequence_lengths)
    return found_out(plan, query, key, value, cu_seqlens, sequence_lengths) if output is None else output


def as_before(
    plan: Plan | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    sequence_lengths: torch.Tensor | None,
) -> torch.Tensor | None:
    """The same, as a layer alike did it before in this encoder call; None where none did, or where Python is recorded.

    That layer asked what its release and its caller do; of this, only what may change between two layers is asked anew.
    """
    if torch.compiler.is_compiling() or not CALLS.open:
        return None
    bound: _Bound | None = CALLS.open[-1].bound.get(id(cu_seqlens))
    if bound is None or not bound.is_of(plan, (cu_seqlens, sequence_lengths), query, key, value) or being_captured():
        return None
    return bound.attention.output(query, key, value)


def found_out(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    sequence_lengths: torch.Tensor | None,
) -> torch.Tensor:
    """The same, with everything asked; layers alike of the same encoder call do without."""
    lengths, key_lengths = lengths_given(query.shape[0], query.shape[1], key.shape[1], cu_seqlens, sequence_lengths)
    call = None if torch.is_grad_enabled() else current_call()
    if call is None or not query.dtype is key.dtype is value.dtype:
        return attend(plan, query, key, value, lengths, key_lengths)
    forms = (query.shape, key.shape, value.shape, query.dtype, query.device)
    attention = _Attention(plan, lengths, key_lengths, query, Memory(call, query.device) if plan.pads else None)
    call.bound[id(cu_seqlens)] = _Bound(plan, (cu_seqlens, sequence_lengths), forms, attention)
    return attention.output(query, key, value)


def attend(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Lengths,
    key_lengths: Lengths,
) -> torch.Tensor:
    """Attention that no other layer shares; the output is contiguous, and has the form of the query."""
    memory = Memory(current_call(), query.device) if plan.pads else None
    return _Attention(plan, lengths, key_lengths, query, memory).output(query, key, value)


Given = tuple[torch.Tensor | None, torch.Tensor | None]
"""What layers are told of sequences: ``cu_seqlens`` and ``sequence_lengths``."""
Forms = tuple[torch.Size, torch.Size, torch.Size, torch.dtype, torch.device]
"""The shapes of query, key and value, and what they have in common."""


class _Attention:
    """Attention over some sequences with everything bound but a query, a key and a value."""

    def __init__(
        self, plan: Plan, lengths: Lengths, key_lengths: Lengths, like: torch.Tensor, memory: Memory | None
    ) -> None:
        common = kernels.Common(lengths, key_lengths, plan.heads, plan.kv_heads, plan.scale)
        kernel = kernels.suited(plan.kernel, common, like.dtype)
        self._plan, self.memory = plan, memory
        self._inputs: tuple[Buffer, Buffer, Buffer] | None = None
        self._room: Buffer | None = None
        if memory is not None and kernel == kernels.FLASH_ATTENTION_UNPAD:
            by_head = like if like.dim() == 4 else like.view(*like.shape[:2], plan.heads, plan.head_size)
            self._room = output_buffer(_OUTPUT, by_head, plan.padded_size, memory)
        self._attend = kernels.KERNELS[kernel](common, self._room.packed if self._room is not None else None)

    def output(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """In memory of its own, contiguous, of the form of the query."""
        plan, shape = self._plan, query.shape
        heads, kv_heads, size = plan.heads, plan.kv_heads, plan.head_size
        if self.memory is None:
            return self._attend(
                query.reshape(shape[0] * shape[1], heads, size),
                key.reshape(key.shape[0] * key.shape[1], kv_heads, size),
                value.reshape(value.shape[0] * value.shape[1], kv_heads, size),
            ).view(shape)
        if len(shape) == 3:
            query, key, value = (
                query.view(*shape[:2], heads, size),
                key.view(*key.shape[:2], kv_heads, size),
                value.view(*value.shape[:2], kv_heads, size),
            )
        if self._inputs is None:
            to, memory = plan.padded_size, self.memory
            self._inputs = (
                padding("query", query, to, memory),
                padding("key", key, to, memory),
                padding("value", value, to, memory),
            )
        else:
            for buffer, tensor in zip(self._inputs, (query, key, value), strict=True):
                buffer.heads.copy_(tensor)
        of_query, of_key, of_value = self._inputs
        output = self._attend(of_query.packed, of_key.packed, of_value.packed)
        if self._room is None:
            return output[..., :size].reshape(shape).contiguous()
        # Not contiguous(): of a single head that would be the buffer itself, which the next layer overwrites.
        own = self._room.heads.clone(memory_format=torch.contiguous_format)
        return own if len(shape) == 4 else own.view(shape)


class _Bound(NamedTuple):
    """Attention as a layer of an encoder call did it, for layers alike that are told of the same sequences."""

    plan: Plan
    given: Given
    """Kept alive, so that no other tensor can be taken for it."""
    forms: Forms
    attention: _Attention

    def is_of(
        self, plan: Plan | None, given: Given, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> bool:
        """Whether a layer would do what that one did, into the same memory on the same stream."""
        own_plan, (cu_seqlens, sequence_lengths), forms, attention = self
        return (
            given[0] is cu_seqlens
            and given[1] is sequence_lengths
            and (plan is own_plan or plan == own_plan)
            and (query.shape, key.shape, value.shape, query.dtype, query.device) == forms
            and query.dtype is key.dtype is value.dtype
            and not torch.is_grad_enabled()
            and (attention.memory is None or attention.memory.stream == stream_of(query.device))
        )


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
        lengths = lengths_from([tokens] * batch)
        return lengths, lengths if key_tokens == tokens else lengths_from([key_tokens] * batch)
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
