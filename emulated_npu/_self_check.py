"""The self-check: that the device, the ops and the counts of this environment are what they should be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from . import _schemas
from ._accounting import Log, record

LENGTHS = (12, 20, 4)
HEADS, HEAD_SIZE = 2, 72


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Stack:
    """One run of the attention stack: its log and its output, on the host."""

    log: Log
    output: torch.Tensor


def check_device() -> Check:
    """Tensors live on the device, compute what the CPU computes, and come back."""
    host = torch.arange(12, dtype=torch.float32).view(3, 4)
    npu = host.to("npu")
    result = torch.nn.functional.gelu(npu @ npu.t())[1:]
    same = torch.equal(result.cpu(), torch.nn.functional.gelu(host @ host.t())[1:])
    return Check(
        "device", result.is_npu and same, f"{result.device}, {torch.npu.get_device_name()}, torch {torch.__version__}"
    )


def check_refusal() -> Check:
    """Tensors on different devices do not mix."""
    try:
        torch.ones(2, device="npu") + torch.ones(2)
    except RuntimeError as error:
        return Check("mixed devices", "same device" in str(error), "refused")
    return Check("mixed devices", False, "a CPU tensor was taken for an npu tensor")


def check_ops(release: str) -> Check:
    """Every op of the release is registered for the device."""
    ops = _schemas.schemas(release)
    missing = [op for op in ops if not torch._C._dispatch_has_kernel_for_dispatch_key(op, "PrivateUse1")]
    detail = f"torch_npu {release}: {len(ops) - len(missing)} of {len(ops)} have a kernel"
    return Check("ops", not missing, detail + (f"; missing: {', '.join(missing)}" if missing else ""))


def run_stack(layers: int, *, host_lengths: bool) -> Stack:
    """A stack of attention layers over one packed batch; without host lengths each layer asks the device for them."""
    boundaries = [0, *itertools.accumulate(LENGTHS)]
    tokens = torch.randn(boundaries[-1], HEADS, HEAD_SIZE, generator=torch.Generator().manual_seed(0))
    hidden = tokens.to("npu", torch.float16)
    cu_seqlens = torch.tensor(boundaries, dtype=torch.int32, device="npu")
    lengths = torch.tensor(LENGTHS, dtype=torch.int32) if host_lengths else None
    with record() as log:
        for _ in range(layers):
            hidden = _attend(hidden, cu_seqlens, lengths)
    return Stack(log, hidden.cpu())


def _attend(hidden: torch.Tensor, cu_seqlens: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    import torch_npu

    if lengths is None:
        lengths = torch.diff(cu_seqlens).to("cpu")
    out = torch.empty_like(hidden)
    torch_npu._npu_flash_attention_unpad(
        query=hidden,
        key=hidden,
        value=hidden,
        seq_len=lengths,
        scale_value=HEAD_SIZE**-0.5,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        out=out,
    )
    return out


def check_counts(layers: int, without: Stack, with_lengths: Stack) -> list[Check]:
    """The counts are exact: one copy per layer without host lengths, none with them, and the same output."""
    return [
        _check_copies("attention without host lengths", layers, layers, without),
        _check_copies("attention with host lengths", layers, 0, with_lengths),
        Check("same output", torch.equal(without.output, with_lengths.output), "bitwise, of the two stacks"),
    ]


def _check_copies(name: str, layers: int, expected: int, stack: Stack) -> Check:
    copies, log = len(stack.log.device_to_host), stack.log
    holds = copies == expected and log.stalls == expected
    detail = f"{layers} layers, {copies} copies to the host, {log.kernels} kernels, {log.dispatches} dispatches"
    return Check(name, holds, detail if holds else f"{detail}; expected {expected} copies")


def self_check(release: str, layers: int) -> tuple[list[Check], dict[str, Any]]:
    """Everything that is checked, and the counts of the attention stack as data."""
    without, with_lengths = (run_stack(layers, host_lengths=given) for given in (False, True))
    checks = [check_device(), check_refusal(), check_ops(release), *check_counts(layers, without, with_lengths)]
    counts = {"without_host_lengths": _counts(without.log), "with_host_lengths": _counts(with_lengths.log)}
    return checks, counts


def _counts(log: Log) -> dict[str, Any]:
    return {
        "device_to_host": len(log.device_to_host),
        "stalls": log.stalls,
        "kernels": log.kernels,
        "dispatches": log.dispatches,
        "by_operator": dict(sorted(log.by_operator.items())),
    }
