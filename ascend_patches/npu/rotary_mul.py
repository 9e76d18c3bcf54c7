"""npu_rotary_mul: what it takes, and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ascend_patches.npu.neighbours import behind
from ascend_patches.npu.rotary_tables import Form, Mode, Tables, tables_of

NAME = "npu_rotary_mul"

TYPES = (torch.float32, torch.float16, torch.bfloat16)
WIDTH_LIMIT = 896
HEADS_LIMIT = 1000
FIRST_SOC_TO_INTERLEAVE = 220
"""Ascend910B1. On older ones torch_npu has another op behind the name, which turns halves only."""


Turn = Callable[[torch.Tensor], torch.Tensor]
"""Rotates heads of one shape and type; the result is contiguous."""


class RotaryStyle(NamedTuple):
    """What is chosen when an ApplyRotaryEmb is made."""

    neox: bool
    in_float32: bool


def style_of(layer: Any) -> RotaryStyle:
    return RotaryStyle(layer.is_neox_style, layer.enable_fp32_compute)


class Rotation(NamedTuple):
    """What a replacement of ApplyRotaryEmb stands for, where it is one op and nothing else."""

    interleaves: Callable[[], bool]
    """Whether the op turns neighbours on this device."""

    def of(
        self, layer: Any, shape: torch.Size, dtype: torch.dtype, cos: torch.Tensor, sin: torch.Tensor
    ) -> Turn | None:
        """How heads of a shape are rotated by these very tensors; None if that takes more than the op."""
        import torch_npu

        computed = torch.float32 if layer.enable_fp32_compute else dtype
        form = form_taken(shape, cos, computed, "half" if layer.is_neox_style else "interleave")
        if form is None or form.rows != 1 or 2 * cos.shape[-1] != shape[-1]:
            return None
        if not hasattr(torch_npu, NAME) or (form.mode == "interleave" and not self.interleaves()):
            return None
        return turn_of(tables_of(cos, sin, form), form, shape, dtype)


def turn_of(tables: Tables, form: Form, shape: torch.Size, dtype: torch.dtype) -> Turn:
    """The rotation of heads, [rows, tokens, heads, size] or without rows, by tables of a form that takes them."""
    import torch_npu

    op, (cos, sin), mode, computed = torch_npu.npu_rotary_mul, tables, form.mode, form.dtype
    batched, cast, whole = len(shape) == 4, computed is not dtype, cos.shape[-1] == shape[-1]

    def turn(x: torch.Tensor) -> torch.Tensor:
        if cast:
            x = x.to(computed)
        if not batched:
            x = x.unsqueeze(0)
        result: torch.Tensor = op(x, cos, sin, rotary_mode=mode) if whole else turned(x, tables, mode)
        if cast:
            result = result.to(dtype)
        return result if batched else result.squeeze(0)

    return turn


def turns_by(rotation: Rotation, style: RotaryStyle, layer: Any) -> bool:
    """Whether a layer's rotation is of that style, with that replacement behind it."""
    rotary = layer._modules["apply_rotary_emb"]
    return behind(rotary) is rotation and style_of(rotary) == style


def turned(x: torch.Tensor, tables: Tables, mode: Mode) -> torch.Tensor:
    """[batch, tokens, heads, size], with as many leading channels of each head turned as the tables have."""
    import torch_npu

    width = tables.cos.shape[-1]
    if width == x.shape[-1]:
        whole: torch.Tensor = torch_npu.npu_rotary_mul(x, *tables, rotary_mode=mode)
        return whole
    leading = torch_npu.npu_rotary_mul(x[..., :width], *tables, rotary_mode=mode)
    return torch.cat((leading, x[..., width:]), dim=-1)


def form_taken(shape: torch.Size, cos: torch.Tensor, dtype: torch.dtype, mode: Mode) -> Form | None:
    """In which form the op takes tables of this ``cos`` for heads of a shape, computing in that type; else None."""
    if 2 * cos.shape[-1] >= WIDTH_LIMIT or dtype not in TYPES or len(shape) not in (3, 4):
        return None
    if torch.compiler.is_compiling():
        # Sizes are symbols now, and to ask for their values would compile again for each. Releases do not ask either.
        return Form(mode, dtype, rows=1)
    batch, tokens, heads = shape[:-1] if len(shape) == 4 else (1, *shape[:-1])
    if not shape.numel() or not _few(batch, heads, mode):
        return None
    if cos.shape[:-1].numel() == tokens:
        return Form(mode, dtype, rows=1)
    if mode == "half" and cos.shape[:-1] == (batch, tokens):
        return Form(mode, dtype, rows=batch)
    return None


def _few(batch: int, heads: int, mode: Mode) -> bool:
    if mode == "half":
        return batch < HEADS_LIMIT and heads < HEADS_LIMIT
    return batch * heads < HEADS_LIMIT


def device_interleaves() -> bool:
    """Whether the op turns neighbours on this device; no while a compiler traces, which could not see the answer."""
    npu: Any = getattr(torch, "npu", None)
    if npu is None or torch.compiler.is_compiling():
        return False
    return int(npu.get_soc_version()) >= FIRST_SOC_TO_INTERLEAVE
