"""Runs a release's encoder attention before and after the patch, on the same inputs, and prints what came out as JSON.

For a process of its own that sees one release.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import ascend_patches
import emulated_npu
from ascend_patches.checks.world import configured
from ascend_patches.patches.mm_encoder_attention.checks import CASES, DTYPES, SEQUENCES, Bench, Case, of_this_release

LAYERS = 27


@torch.inference_mode()
def main() -> None:
    release = of_this_release()
    with configured():
        print(json.dumps(measured(release)))


def measured(release: Bench) -> dict[str, Any]:
    old = {name: release.layer(case) for name, case in CASES.items()}
    upstream = {(name, dtype): release.run(old[name], case, dtype) for name, case in CASES.items() for dtype in DTYPES}
    encoder = release.layer(Case())
    found: dict[str, Any] = {"upstream": counts(release, encoder)}
    status = ascend_patches.apply_patches()
    found["patch"] = next(patch for patch in status["patches"] if patch["name"] == "mm-encoder-attention")
    found["cases"] = {}
    for (name, dtype), (before, result) in upstream.items():
        after, patched = release.run(old[name], CASES[name], dtype)
        _, of_a_new_layer = release.run(release.layer(CASES[name]), CASES[name], dtype)
        found["cases"][f"{name}, {dtype}"] = {
            "upstream": asdict(before),
            "patched": asdict(after),
            "same bits": same(result, patched),
            "new layers like old ones": same(patched, of_a_new_layer),
        }
    from ascend_patches.npu.encoder_call import encoder_call

    found["alone"] = counts(release, encoder)
    found["in a call"] = counts(release, encoder, encoder_call())
    found["handed over"] = counts(release, encoder, encoder_call(), handed_over=True)
    found["passed on"] = counts(release, encoder, lengths=lengths_that_models_pass_on(encoder))
    found["captured"] = who_runs_in_a_capture(release, encoder)
    return found


def counts(
    release: Bench,
    layer: Any,
    around: AbstractContextManager[object] | None = None,
    *,
    handed_over: bool = False,
    lengths: torch.Tensor | None = None,
) -> dict[str, float]:
    """What an encoder of many layers costs."""
    arguments = release.arguments(Case(), torch.bfloat16)
    if lengths is not None:
        arguments["sequence_lengths"] = lengths
    with emulated_npu.record() as log, around or contextlib.nullcontext():
        if handed_over:
            from ascend_patches.npu.host_lengths import hand_over

            hand_over(arguments["cu_seqlens"], SEQUENCES)
        for _ in range(LAYERS):
            layer.forward_oot(**arguments)
    return {
        "copies": len(log.device_to_host),
        "kernels": log.kernels / LAYERS,
        "dispatches": log.dispatches / LAYERS,
    }


def lengths_that_models_pass_on(layer: Any) -> torch.Tensor | None:
    """What the class gives a model that asks for lengths before its layers run; None where models do not ask."""
    ask = getattr(layer, "maybe_compute_seq_lens", None)
    if ask is None:
        return None
    boundaries = np.concatenate([[0], np.cumsum(SEQUENCES)]).astype(np.int32)
    lengths: torch.Tensor | None = ask(layer.attn_backend, boundaries, torch.device("npu"))
    return lengths


def who_runs_in_a_capture(release: Bench, layer: Any) -> str:
    """Whose code an encoder graph is captured from, on releases that capture encoders."""
    try:
        graphs = importlib.import_module("vllm_ascend.worker.encoder_acl_graph")
    except ImportError:
        return "nobody"
    layer._forward_capture_fia = lambda *_, **__: "release"
    with graphs.set_encoder_forward_context(64, True):
        output = layer.forward_oot(**release.arguments(Case(), torch.bfloat16))
    return output if isinstance(output, str) else "patch"


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


if __name__ == "__main__":
    main()
