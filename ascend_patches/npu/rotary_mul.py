"""npu_rotary_mul: what it takes, and how it is called."""

from __future__ import annotations

from typing import Any

import torch

from ascend_patches.npu.rotary_tables import Form, Mode, Tables

NAME = "npu_rotary_mul"

TYPES = (torch.float32, torch.float16, torch.bfloat16)
WIDTH_LIMIT = 896
HEADS_LIMIT = 1000
FIRST_SOC_TO_INTERLEAVE = 220
"""Ascend910B1. On older ones torch_npu has another op behind the name, which turns halves only."""


def turned(x: torch.Tensor, tables: Tables, mode: Mode) -> torch.Tensor:
    """[batch, tokens, heads, size], with as many leading channels of each head turned as the tables have."""
    import torch_npu

    width = tables.cos.shape[-1]
    if width == x.shape[-1]:
        whole: torch.Tensor = torch_npu.npu_rotary_mul(x, *tables, rotary_mode=mode)
        return whole
    leading = torch_npu.npu_rotary_mul(x[..., :width], *tables, rotary_mode=mode)
    return torch.cat((leading, x[..., width:]), dim=-1)


def form_taken(x: torch.Tensor, cos: torch.Tensor, dtype: torch.dtype, mode: Mode) -> Form | None:
    """In which form the op takes tables of this ``cos`` for ``x``, computing in that type; None if it does not."""
    if 2 * cos.shape[-1] >= WIDTH_LIMIT or dtype not in TYPES or x.dim() not in (3, 4):
        return None
    if torch.compiler.is_compiling():
        # Sizes are symbols now, and to ask for their values would compile again for each. Releases do not ask either.
        return Form(mode, dtype, rows=1)
    batch, tokens, heads = x.shape[:-1] if x.dim() == 4 else (1, *x.shape[:-1])
    if not x.numel() or not _few(batch, heads, mode):
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
