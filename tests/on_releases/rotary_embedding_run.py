"""Runs a release's ApplyRotaryEmb before and after the patch rotary-embedding, and prints what came out as JSON.

For a process of its own that sees one release. Numbers are compared bitwise between the two, and with float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch._dynamo.testing

import ascend_patches
import emulated_npu
from ascend_patches.checks.world import configured, start
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.patches.rotary_embedding import checks as exercise
from ascend_patches.patches.rotary_embedding.checks import CASES, CHECKS, TYPES, Case, exact

LAYERS = 27
COUNTED = ("stacked", "no batch", "tables in float32", "computed in float32", "interleaved", "partial")


@dataclass
class Outcome:
    """What one side made of a case."""

    refused: str = ""
    shape: list[int] = field(default_factory=list)
    contiguous: bool = False
    error: float = 0.0


def outcome(layer: Any, case: Case, dtype: torch.dtype) -> tuple[Outcome, torch.Tensor | None]:
    given = exercise.inputs(case, dtype)
    try:
        output = layer.forward_oot(*given)
    except Exception as error:
        return Outcome(refused=type(error).__name__), None
    difference = (output.cpu().double() - exact(case, given)).abs()
    largest = float(difference.max()) if difference.numel() else 0.0
    return Outcome(shape=list(output.shape), contiguous=output.is_contiguous(), error=largest), output.cpu()


def outcomes() -> dict[str, tuple[Outcome, torch.Tensor | None]]:
    return {
        exercise.title(name, dtype): outcome(exercise.layer(case), case, dtype)
        for name, case in CASES.items()
        for dtype in TYPES
    }


def mended() -> list[str]:
    """The cases whose bits the patch may change on this release."""
    return [f"{check.name}, {check.dtypes[0]}" for check in CHECKS if check.mended or not check.bitwise]


def compared(upstream: tuple[Outcome, torch.Tensor | None], patched: tuple[Outcome, torch.Tensor | None]) -> Any:
    (theirs, before), (ours, after) = upstream, patched
    same = before is not None and after is not None and before.dtype == after.dtype and torch.equal(before, after)
    return {"upstream": asdict(theirs), "patched": asdict(ours), "bitwise": same}


def per_layer(name: str) -> dict[str, float] | None:
    """What a forward of many layers with the same cos and sin costs; None where the release refuses."""
    layer, given = exercise.layer(CASES[name]), exercise.inputs(CASES[name], torch.bfloat16)
    with emulated_npu.record() as log:
        try:
            for _ in range(LAYERS):
                layer.forward_oot(*given)
        except Exception:
            return None
    return {"kernels": log.kernels / LAYERS, "dispatches": log.dispatches / LAYERS}


def compiled(name: str) -> dict[str, Any]:
    """A layer compiled as one graph that takes any number of tokens, called with two numbers of them."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    layer = exercise.layer(CASES[name])
    function: Callable[..., torch.Tensor] = torch.compile(layer.forward_oot, backend=counter, fullgraph=True)
    for tokens in (12, 8):
        x, cos, sin = exercise.inputs(CASES[name], torch.bfloat16)
        given = x[..., :tokens, :, :], cos[:tokens], sin[:tokens]
        for tensor, dimension in zip(given, (x.dim() - 3, 0, 0), strict=True):
            torch._dynamo.mark_dynamic(tensor, dimension)
        function(*given)
    with encoder_call() as call:
        function(*given)
    return {"graphs": counter.frame_count, "kept": len(call.buffers)}


@torch.inference_mode()
def main() -> dict[str, Any]:
    start()
    exercise.layer_class()
    with configured():
        before = outcomes()
        upstream = {name: per_layer(name) for name in COUNTED}
        graphs = compiled("stacked")
        status = ascend_patches.apply_patches()
        after = outcomes()
        found = {
            "state": {patch["name"]: patch["state"] for patch in status["patches"]}["rotary-embedding"],
            "mended": mended(),
            "cases": {name: compared(before[name], after[name]) for name in before},
            "costs": {"upstream": upstream, "outside of calls": {name: per_layer(name) for name in COUNTED}},
            "graphs": {"upstream": graphs, **{name: compiled(name) for name in COUNTED}},
        }
        with encoder_call():
            found["costs"]["in a call"] = {name: per_layer(name) for name in COUNTED}
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
