"""Counts what one forward of every encoder of the release that this process sees copies back, and prints it as JSON.

encoder_counts.py LAYERS [ENCODER...]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

import ascend_patches
import emulated_npu
from ascend_patches.checks.encoders import EVERY_ENCODER, GRIDS
from ascend_patches.checks.more_encoders import IN_FLOAT32


def main() -> None:
    torch.set_num_threads(1)
    layers = int(sys.argv[1])
    names = [name for name in sys.argv[2:] or EVERY_ENCODER if EVERY_ENCODER[name].there()]
    with torch.inference_mode():
        upstream = {name: cost(name, layers) for name in names}
        ascend_patches.apply_patches()
        patched = {name: cost(name, layers) for name in names if upstream[name] is not None}
    print(json.dumps({name: described(upstream[name], patched[name]) for name in patched}))


def cost(name: str, layers: int) -> tuple[dict[str, int], torch.Tensor] | None:
    """The second forward of a model: what is made once per model is made by then. None of one that upstream refuses."""
    encoder, dtype = EVERY_ENCODER[name], torch.float32 if name in IN_FLOAT32 else torch.bfloat16
    try:
        model = encoder.made(layers, dtype)
        encoder.run(model, GRIDS, dtype)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    with emulated_npu.record() as log:
        output = encoder.run(model, GRIDS, dtype)
    counted = {
        "copies": len(log.device_to_host),
        "kernels": log.kernels,
        "dispatches": log.dispatches,
        "waits": log.stalls,
    }
    return counted, output.cpu()


def described(upstream: Any, patched: Any) -> dict[str, Any]:
    both = {kind: [upstream[0][kind], patched[0][kind]] for kind in ("kernels", "dispatches", "waits")}
    return {
        "upstream": upstream[0]["copies"],
        "patched": patched[0]["copies"],
        **both,
        "same": bool(torch.equal(upstream[1], patched[1])),
    }


if __name__ == "__main__":
    main()
