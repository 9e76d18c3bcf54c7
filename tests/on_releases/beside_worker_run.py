"""Run on one vllm-ascend: its encoders with the release's own worker patches, and ours before or after them.

beside_worker_run.py release|ours|"ours, release"|"release, ours"

Prints the state of our patches and what the encoders give, as one JSON object.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import sys
from collections.abc import Iterator

import torch

import ascend_patches
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, GRIDS

LAYERS = 3
MLA = ("vllm_ascend.attention.mla_v1", "vllm_ascend.torchair.torchair_mla")


def release() -> None:
    """What vllm-ascend's platform does in every process, and its worker before it loads a model."""
    # The groups are made before: afterwards they would be HCCL's.
    world.enter()
    adapt_patch = importlib.import_module("vllm_ascend.utils").adapt_patch
    adapt_patch(True)
    adapt_patch()


def ours() -> None:
    ascend_patches.apply_patches()


def outputs() -> Iterator[tuple[str, str]]:
    for name, encoder in ENCODERS.items():
        if not encoder.there():
            continue
        for dtype in (torch.float32, torch.bfloat16):
            with torch.inference_mode():
                result = encoder.run(encoder.made(LAYERS, dtype), GRIDS, dtype).cpu()
            bits = result.contiguous().view(torch.uint8).numpy().tobytes()
            yield f"{name}, {dtype}", hashlib.sha256(bits).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    for step in sys.argv[1].split(", "):
        {"release": release, "ours": ours}[step]()
    world.enter()
    found = dict(outputs())
    for module in MLA:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    patches = {patch["name"]: [patch["state"], patch["reason"]] for patch in ascend_patches.status()["patches"]}
    replaced = sorted(name for name in sys.modules if name.startswith("vllm_ascend.patch.worker.patch_"))
    print(json.dumps({"patches": patches, "outputs": found, "worker": replaced}))


if __name__ == "__main__":
    main()
