"""Run on one vllm-ascend: what mla-kv-overlap adds to the host's time of a layer, on a device that does nothing."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from ascend_patches import apply_patches, revert_patches
from ascend_patches.patches.mla_kv_overlap import mla_impl
from emulated_npu import null_device

ROUNDS, STEPS, LAYERS = 200, 10, 61
"""DeepSeek-V3 has as many layers."""


def main() -> None:
    torch.set_num_threads(1)
    null_device.install(os.environ["ASCEND_PATCHES_RELEASE_TORCH_NPU"])
    layer, step = mla_impl.make(), mla_impl.Step()
    patch = next(patch for patch in apply_patches()["patches"] if patch["name"] == "mla-kv-overlap")
    if patch["state"] != "applied":
        raise SystemExit(f"bench_mla: mla-kv-overlap is {patch['state']} here: {patch['reason']}")
    without, within = [], []
    for _ in range(ROUNDS):
        revert_patches()
        without.append(microseconds(layer, step))
        apply_patches()
        within.append(microseconds(layer, step))
    # Noise only adds: of rounds that are the same the fastest is the truest.
    before, after = min(without), min(within)
    print(
        f"preparing a decode step: {before:.1f} -> {after:.1f} us per layer, {after - before:.1f} us more; "
        f"{(after - before) * LAYERS / 1000:.2f} ms per eager step of {LAYERS} layers, nothing in a captured graph"
    )


def microseconds(layer: Any, step: mla_impl.Step) -> float:
    """The thread's time of one of several steps."""
    with torch.inference_mode():
        step.run(layer)
        start = time.thread_time_ns()
        for _ in range(STEPS):
            step.run(layer)
        return (time.thread_time_ns() - start) / 1000 / STEPS


if __name__ == "__main__":
    main()
