"""Checks of rotary-embedding: every way in which models call ApplyRotaryEmb."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple

import torch
from einops import rearrange

from ascend_patches.checks import world
from ascend_patches.checks.check import NOWHERE, WITH_VLLM_ASCEND, Call, Check
from ascend_patches.declaring.gates import Gate, absent, always, version_in
from ascend_patches.declaring.tolerance import Tolerance

TOKENS, HEADS, SIZE = 12, 4, 72
TYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """One way to call a layer."""

    batch: int | None = 2
    """None: three dimensions."""
    neox: bool = True
    width: int = SIZE
    """How many channels of a head are turned."""
    in_float32: bool = False
    tables_in_float32: bool = False
    sliced: bool = False
    """Query or key as a part of a larger projection."""


class Inputs(NamedTuple):
    x: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor


CASES = {
    "stacked": Case(),
    "stacked, two rows": Case(batch=4),
    "one row": Case(batch=1),
    "no batch": Case(batch=None),
    "no batch, sliced": Case(batch=None, sliced=True),
    "computed in float32": Case(in_float32=True),
    "no batch, computed in float32": Case(batch=None, in_float32=True),
    "tables in float32": Case(tables_in_float32=True),
    "partial": Case(width=32),
    "partial, no batch, computed in float32": Case(batch=None, width=32, in_float32=True),
    "interleaved": Case(neox=False),
    "interleaved, one row": Case(neox=False, batch=1),
    "interleaved, no batch, computed in float32": Case(batch=None, neox=False, in_float32=True),
    "interleaved, partial": Case(neox=False, width=32),
    "nothing": Case(batch=0),
}


def mended(case: Case) -> Gate:
    """The releases that fail on a case, or turn the wrong channels."""
    gates = [
        *([version_in("vllm-ascend", "<0.30")] if not case.neox else []),
        *([version_in("vllm-ascend", "<0.24"), absent("vllm-ascend")] if case.width != SIZE else []),
        *([version_in("vllm-ascend", "<0.14")] if case.batch == 1 else []),
    ]
    return reduce(or_, gates, NOWHERE)


def kept(case: Case, dtype: str) -> Gate:
    """The releases whose bits are kept: vLLM alone rounds to bfloat16 more often than the op does."""
    return WITH_VLLM_ASCEND if dtype == "bfloat16" and not case.in_float32 and case.batch != 0 else always


def title(case: str, dtype: torch.dtype) -> str:
    return f"{case}, {str(dtype).removeprefix('torch.')}"


def layer_class() -> Any:
    """The class whose objects models get on an NPU; None before there was one."""
    if world.with_vllm_ascend():
        module, name = "vllm_ascend.ops.rotary_embedding", "AscendApplyRotaryEmb"
    else:
        module, name = "vllm.model_executor.layers.rotary_embedding.common", "ApplyRotaryEmb"
    return getattr(importlib.import_module(module), name, None)


def layer(case: Case) -> Any:
    return layer_class()(enforce_enable=True, is_neox_style=case.neox, enable_fp32_compute=case.in_float32)


def inputs(case: Case, dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(7)
    angles = torch.rand(TOKENS, case.width // 2, generator=generator) * 7
    x = torch.randn(2 if case.batch is None else case.batch, TOKENS, 2 * HEADS, SIZE, generator=generator).to(dtype)
    x = x if case.batch is not None else x[0]
    x = x.to("npu")[..., :HEADS, :] if case.sliced else x[..., :HEADS, :].contiguous().to("npu")
    of_tables = torch.float32 if case.tables_in_float32 else dtype
    return Inputs(x, angles.cos().to(of_tables).to("npu"), angles.sin().to(of_tables).to("npu"))


def exact(case: Case, given: Inputs) -> torch.Tensor:
    """The rotation of the leading channels, pair by pair, in float64."""
    x, cos, sin = (tensor.cpu().double() for tensor in given)
    leading, rest = x[..., : case.width], x[..., case.width :]
    channels = "(member pair)" if case.neox else "(pair member)"
    first, second = rearrange(leading, f"... {channels} -> member ... pair", member=2)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned = torch.stack((first * cos - second * sin, second * cos + first * sin))
    return torch.cat((rearrange(turned, f"member ... pair -> ... {channels}"), rest), dim=-1)


def prepare(case: Case, dtype: torch.dtype) -> Call:
    world.start()
    with world.configured():
        made = layer(case)
    given = inputs(case, dtype)
    return Call(partial(made.forward_oot, *given), partial(exact, case, given))


CHECKS = tuple(
    Check(
        name,
        partial(prepare, case),
        dtypes=(dtype,),
        where=version_in("vllm", ">=0.13.0"),
        bitwise=kept(case, dtype),
        mended=mended(case),
        tolerance=Tolerance(float32=1e-6, bfloat16=1e-2),
    )
    for name, case in CASES.items()
    for dtype in ("float32", "bfloat16")
)
