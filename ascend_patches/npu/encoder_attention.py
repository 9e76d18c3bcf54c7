"""Attention of a multimodal encoder by a plan of its layer, with lengths that are already on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ascend_patches.basics.recording import being_captured
from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_call import CALLS, current_call
from ascend_patches.npu.host_lengths import Lengths, LengthsError, known_lengths, lengths_in, lengths_of
from ascend_patches.npu.padding import Buffer, Memory, output_buffer, padded, stream_of

_PLAN = "_ascend_patches_plan"
_NAMES = ("query", "key", "value")
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
    if bound is None or being_captured():
        return None
    return bound.output(plan, (cu_seqlens, sequence_lengths), query, key, value)


def found_out(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    sequence_lengths: torch.Tensor | None,
) -> torch.Tensor:
    """The same, with everything asked; layers alike of the same encoder call do without."""
    shape = query.shape
    lengths, key_lengths = lengths_given(shape[0], shape[1], key.shape[1], cu_seqlens, sequence_lengths)
    by_head = (
        _by_head(query, plan.heads, plan.head_size),
        _by_head(key, plan.kv_heads, plan.head_size),
        _by_head(value, plan.kv_heads, plan.head_size),
    )
    call = None if torch.is_grad_enabled() else current_call()
    memory = Memory(call, query.device) if plan.pads else None
    output = attend(plan, *by_head, lengths, key_lengths, memory)
    if call is not None and query.dtype is key.dtype is value.dtype:
        forms = (shape, key.shape, value.shape, query.dtype, query.device)
        given = (cu_seqlens, sequence_lengths)
        call.bound[id(cu_seqlens)] = _Bound(plan, given, forms, by_head, lengths, key_lengths, memory)
    return output if len(shape) == 4 else output.view(shape)


Given = tuple[torch.Tensor | None, torch.Tensor | None]
"""What layers are told of sequences: ``cu_seqlens`` and ``sequence_lengths``."""
Forms = tuple[torch.Size, torch.Size, torch.Size, torch.dtype, torch.device]
"""The shapes of query, key and value, and what they have in common."""


class _Bound:
    """Attention as a layer of an encoder call did it, for layers alike that are told of the same sequences."""

    def __init__(
        self,
        plan: Plan,
        given: Given,
        forms: Forms,
        by_head: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        lengths: Lengths,
        key_lengths: Lengths,
        memory: Memory | None,
    ) -> None:
        # What was given is kept alive, so that no other tensor can be taken for it.
        self._plan, self._given, self._forms = plan, given, forms
        self._shapes = tuple(each.shape for each in by_head)
        # Layers write into the same memory where heads are padded, and nowhere else.
        self._memory = memory
        self._common = kernels.Common(lengths, key_lengths, plan.heads, plan.kv_heads, plan.scale)
        self._rest: _Rest | None = None

    def output(
        self, plan: Plan | None, given: Given, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor | None:
        """As :func:`attend`, of the form of the query; None where a layer would not do what that one did."""
        known = self._plan
        if (
            given[0] is not self._given[0]
            or given[1] is not self._given[1]
            or not (plan is known or plan == known)
            or (query.shape, key.shape, value.shape, query.dtype, query.device) != self._forms
            or not query.dtype is key.dtype is value.dtype
            or torch.is_grad_enabled()
            or (self._memory is not None and stream_of(query.device) != self._memory.stream)
        ):
            return None
        if self._rest is None:
            # Not by the first layer: what is made anew for each layer is never given again.
            self._rest = _Rest(known, self._common, self._shapes, query.dtype, self._memory)
        return self._rest.output(query, key, value)


class _Rest:
    """What is left to do in layers alike: memory, and the op with everything but a query, a key and a value."""

    def __init__(
        self,
        plan: Plan,
        common: kernels.Common,
        shapes: tuple[torch.Size, ...],
        dtype: torch.dtype,
        memory: Memory | None,
    ) -> None:
        kernel = kernels.suited(plan.kernel, common, dtype)
        self._shapes, self._head_size = shapes, plan.head_size
        self._packed = tuple(torch.Size((shape[0] * shape[1], *shape[2:])) for shape in shapes)
        self._buffers: list[Buffer] | None = None
        self._room: Buffer | None = None
        if memory is not None:
            # The layer before has asked for all of them.
            named = zip(_NAMES, shapes, strict=True)
            self._buffers = [memory.kept(name, shape, dtype, plan.padded_size) for name, shape in named]
            if kernel == kernels.FLASH_ATTENTION_UNPAD:
                self._room = memory.kept(_OUTPUT, shapes[0], dtype, plan.padded_size)
        self._attend = kernels.KERNELS[kernel](common, self._room.packed if self._room is not None else None)

    def output(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Of the form of the query."""
        shape = query.shape
        if self._buffers is None:
            of_query, of_key, of_value = self._packed
            return self._attend(query.reshape(of_query), key.reshape(of_key), value.reshape(of_value)).view(shape)
        if len(shape) == 3:
            of_query, of_key, of_value = self._shapes
            query, key, value = query.view(of_query), key.view(of_key), value.view(of_value)
        for_query, for_key, for_value = self._buffers
        for_query.heads.copy_(query)
        for_key.heads.copy_(key)
        for_value.heads.copy_(value)
        output = self._attend(for_query.packed, for_key.packed, for_value.packed)
        if self._room is None:
            return output[..., : self._head_size].reshape(shape).contiguous()
        own = self._room.heads.clone(memory_format=torch.contiguous_format)
        return own if len(shape) == 4 else own.view(shape)


def attend(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Lengths,
    key_lengths: Lengths,
    memory: Memory | None = None,
) -> torch.Tensor:
    """Attention over [batch, tokens, heads, size], contiguous, in memory of its own.

    Heads are padded in ``memory``, or in that of the current call.
    """
    common = kernels.Common(lengths, key_lengths, plan.heads, plan.kv_heads, plan.scale)
    kernel = kernels.suited(plan.kernel, common, query.dtype)
    if not plan.pads:
        return kernels.KERNELS[kernel](common, None)(*(each.flatten(0, 1) for each in (query, key, value))).view(
            query.shape
        )
    size, memory = plan.padded_size, memory or Memory(current_call(), query.device)
    packed = [padded(*each, size, memory) for each in zip(_NAMES, (query, key, value), strict=True)]
    if kernel == kernels.FLASH_ATTENTION_UNPAD:
        room = output_buffer(_OUTPUT, query, size, memory)
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
