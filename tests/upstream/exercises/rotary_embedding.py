"""Exercises of the patch rotary-embedding: every way in which models call ApplyRotaryEmb, on classes as imported."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from attention_cases import vllm_configured

from ascend_patches import distributions, emulated_npu
from ascend_patches.gates import version_in

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


def with_vllm_ascend() -> bool:
    return distributions.has_module("vllm_ascend")


def mended(case: Case, dtype: torch.dtype) -> bool:
    """Whether this release fails on a case, or turns the wrong channels, or rounds more often than the op does."""
    if with_vllm_ascend():
        return (
            (not case.neox and bool(version_in("vllm-ascend", "<0.30")))
            or (case.width != SIZE and bool(version_in("vllm-ascend", "<0.24")))
            or (case.batch == 1 and bool(version_in("vllm-ascend", "<0.14")))
        )
    rounded_twice = dtype == torch.bfloat16 and not case.in_float32 and case.batch != 0
    return case.width != SIZE or rounded_twice


def title(case: str, dtype: torch.dtype) -> str:
    return f"{case}, {str(dtype).removeprefix('torch.')}"


MENDED = tuple(title(name, dtype) for name, case in CASES.items() for dtype in TYPES if mended(case, dtype))


def layer_class() -> Any:
    """The class whose objects models get on an NPU; None before there was one."""
    if with_vllm_ascend():
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


def start() -> None:
    """On vLLM alone the device is not there yet, unless another patch's exercise has brought it."""
    if not emulated_npu.installed():
        emulated_npu.install(allow_float32=True)


def run() -> dict[str, torch.Tensor]:
    if layer_class() is None:
        return {}
    start()
    with vllm_configured(), torch.inference_mode():
        return {title(name, dtype): outcome(case, dtype) for name, case in CASES.items() for dtype in TYPES}


def outcome(case: Case, dtype: torch.dtype) -> torch.Tensor:
    """What a layer computes; NaN where the release refuses what the patch mends."""
    made, given = layer(case), inputs(case, dtype)
    try:
        output: torch.Tensor = made.forward_oot(*given)
    except Exception:
        if not mended(case, dtype):
            raise
        return torch.tensor(float("nan"))
    return output.cpu()
