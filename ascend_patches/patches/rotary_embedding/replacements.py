"""What stands in place of ApplyRotaryEmb.forward_oot, by the release that has it.

Models give query and key stacked, or one after the other; either is turned by one op. What the op does not take is
computed with plain torch, by the release's own ``forward_static``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ascend_patches.basics.recording import being_captured
from ascend_patches.errors import AscendPatchesError
from ascend_patches.npu import rotary_mul
from ascend_patches.npu.attention_kernels import available
from ascend_patches.npu.encoder_call import CALLS, EncoderCall
from ascend_patches.npu.neighbours import stands_for
from ascend_patches.npu.padding import stream_of
from ascend_patches.npu.rotary_tables import Form, Tables, latest_in, made, tables_in


class RotaryWidthError(AscendPatchesError, ValueError):
    """cos and sin that turn more channels than a head has."""


# vLLM without vllm-ascend. Any out-of-tree platform may run this, so the op serves only where torch_npu has it. A
# compiler makes one kernel of plain torch by itself.


def forward_oot_of_vllm(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    return (forward_oot if _op_serves() else in_plain_torch)(self, *args, **kwargs)


def forward_oot_of_vllm_0_13(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    return (forward_oot_0_13 if _op_serves() else in_plain_torch)(self, *args, **kwargs)


def _op_serves() -> bool:
    return not torch.compiler.is_compiling() and available(rotary_mul.NAME)


# vllm-ascend


def _profile_interleaves() -> bool:
    # Where the release's own layer looks it up.
    from vllm_ascend.ops import rotary_embedding as release

    capability = release.HardwareCapability.FUSED_ROTARY_MUL_INTERLEAVE
    return bool(release.get_current_hardware_profile().supports(capability))


class _Bound(NamedTuple):
    """How heads alike are turned by the very same cos and sin."""

    given: tuple[torch.Tensor, torch.Tensor]
    """Kept alive, so that no other tensors can be taken for them."""
    stream: int
    turn: rotary_mul.Turn


class _Known(NamedTuple):
    """What is known of heads and tables of some shapes."""

    form: Form
    in_vain: bool
    """Tables are kept in vain, because every layer makes a cos and a sin of its own."""


_MOST_BOUND = 8
"""Of layers that make their own, more would fill the memory."""

InOneOp = Callable[[Any, torch.Tensor, Tables, Form], torch.Tensor]


def _forward_oot(in_one_op: InOneOp, interleaves: Callable[[], bool]) -> Callable[..., torch.Tensor]:
    def forward_oot(self: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling() or not CALLS.open:
            form = _form_taken(self, x, cos, interleaves)
            if form is None:
                return in_plain_torch(self, x, cos, sin)
            return in_one_op(self, x, tables_in(None, cos, sin, form), form)
        call = CALLS.open[-1]
        place = (id(cos), id(sin), x.shape, x.dtype, self.is_neox_style, self.enable_fp32_compute)
        bound: _Bound | None = call.turns.get(place)
        if bound is not None and bound.stream == stream_of(x.device) and not being_captured():
            return bound.turn(x)
        return _forward_in(call, place, self, x, cos, sin, in_one_op, interleaves)

    stands_for(forward_oot, rotary_mul.Rotation(interleaves))
    return forward_oot


def _forward_in(
    call: EncoderCall,
    place: tuple[Any, ...],
    layer: Any,
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    in_one_op: InOneOp,
    interleaves: Callable[[], bool],
) -> torch.Tensor:
    """In an encoder call, with what the next layer need not find out."""
    kind = ("rotation", cos.shape, *place[2:])
    known: _Known | None = call.bound.get(kind)
    if known is not None and known.in_vain:
        return rotary_mul.turn_of(made(cos, sin, known.form), known.form, x.shape, x.dtype)(x)
    form = known.form if known is not None else _form_taken(layer, x, cos, interleaves)
    if form is None:
        return in_plain_torch(layer, x, cos, sin)
    if being_captured():
        return in_one_op(layer, x, tables_in(None, cos, sin, form), form)
    stream = stream_of(x.device)
    latest = latest_in(call, form, stream)
    tables = latest.of(cos, sin, form)
    call.bound[kind] = _Known(form, latest.in_vain)
    if len(call.turns) == _MOST_BOUND:
        call.turns.clear()
    turn = rotary_mul.turn_of(tables, form, x.shape, x.dtype)
    call.turns[place] = _Bound((cos, sin), stream, turn)
    return turn(x)


def _form_taken(layer: Any, x: torch.Tensor, cos: torch.Tensor, interleaves: Callable[[], bool]) -> Form | None:
    _require_room(x, cos)
    dtype = torch.float32 if layer.enable_fp32_compute else x.dtype
    form = rotary_mul.form_taken(x.shape, cos, dtype, "half" if layer.is_neox_style else "interleave")
    return None if form is None or (form.mode == "interleave" and not interleaves()) else form


def _in_one_op(layer: Any, x: torch.Tensor, tables: Tables, form: Form) -> torch.Tensor:
    # The release prepares the tables in place of cos and sin. Those of a call have the type already that it would give
    # them, so they come back as they are, where cos and sin would be cast again in every layer.
    prepared, cos, sin, shape, dtype = layer._pre_process(x, *tables)
    output: torch.Tensor = layer._post_process(rotary_mul.turned(prepared, Tables(cos, sin), form.mode), shape, dtype)
    return output


def _in_one_op_0_13(layer: Any, x: torch.Tensor, tables: Tables, form: Form) -> torch.Tensor:
    batched, cos, sin = x if x.dim() == 4 else x.unsqueeze(0), *tables
    if layer.enable_fp32_compute:
        batched, cos, sin = batched.float(), cos.float(), sin.float()
    output = rotary_mul.turned(batched, Tables(cos, sin), form.mode).to(x.dtype)
    return output if x.dim() == 4 else output.squeeze(0)


def in_plain_torch(layer: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    _require_room(x, cos)
    width = 2 * cos.shape[-1]
    leading: torch.Tensor = layer.forward_static(
        x[..., :width], cos, sin, layer.is_neox_style, layer.enable_fp32_compute
    )
    return leading if width == x.shape[-1] else torch.cat((leading, x[..., width:]), dim=-1)


def _require_room(x: torch.Tensor, cos: torch.Tensor) -> None:
    if 2 * cos.shape[-1] > x.shape[-1]:
        raise RotaryWidthError(
            f"rotary embedding: cos and sin of shape {list(cos.shape)} turn {2 * cos.shape[-1]} channels, but the "
            f"heads of {list(x.shape)} have {x.shape[-1]}: rotary_dim must not exceed head_dim. See the model's config."
        )


forward_oot_0_13 = _forward_oot(_in_one_op_0_13, rotary_mul.device_interleaves)
forward_oot = _forward_oot(_in_one_op, rotary_mul.device_interleaves)
forward_oot_0_30 = _forward_oot(_in_one_op, _profile_interleaves)
for _function in (forward_oot_of_vllm, forward_oot_of_vllm_0_13):
    stands_for(_function, rotary_mul.Rotation(rotary_mul.device_interleaves))
