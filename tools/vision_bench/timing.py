"""Times every encoder of the release that this process sees, upstream and patched in turn, and prints JSON.

timing.py LAYERS ROUNDS ENCODER...
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch

import ascend_patches
from ascend_patches.checks.encoders import ENCODERS, Grids
from tools.vision_bench import stand_ins

GRIDS: Grids = [[1, 16, 16], [2, 16, 8], [1, 8, 8]]
DTYPE = torch.bfloat16
FORWARDS = 3
"""Timed in each round and on each side, after one that is not."""


def main() -> None:
    torch.set_num_threads(1)
    layers, rounds = int(sys.argv[1]), int(sys.argv[2])
    names = [name for name in sys.argv[3:] if ENCODERS[name].there()]
    with torch.inference_mode():
        found = {device: timed(device, names, layers, rounds) for device in devices()}
    print(json.dumps({"devices": found, "of": {device: named(device) for device in found}}))


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def named(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} thread"


def timed(device: str, names: list[str], layers: int, rounds: int) -> dict[str, Any]:
    """Medians in milliseconds. Sides take turns, so that what else the machine does is done to both."""
    models = {(side, name): made(name, layers).to(device) for side in ("upstream", "patched") for name in names}
    kept = stand_ins.install(device)
    times: dict[tuple[str, str], list[float]] = {each: [] for each in models}
    for _ in range(rounds):
        for side, switch in (("upstream", ascend_patches.revert_patches), ("patched", ascend_patches.apply_patches)):
            switch()
            for name in names:
                times[side, name] += forwards(device, name, models[side, name])
    del kept
    return {
        name: {side: 1000 * statistics.median(times[side, name]) for side in ("upstream", "patched")} for name in names
    }


def made(name: str, layers: int) -> Any:
    """An encoder whose layers are in plain torch, but for those that patches change."""
    model = ENCODERS[name].made(layers, DTYPE)
    for layer in model.modules():
        kinds = {base.__name__ for base in type(layer).__mro__}
        if "CustomOp" in kinds and not kinds & {"MMEncoderAttention", "ApplyRotaryEmb"}:
            layer._forward_method = layer.forward_native
    return model


def forwards(device: str, name: str, model: Any) -> list[float]:
    encoder = ENCODERS[name]
    pixels = encoder.pixels(GRIDS, DTYPE).to(device)
    found = []
    for _ in range(FORWARDS + 1):
        start = now(device)
        encoder.forward(model, pixels, GRIDS)
        found.append(now(device) - start)
    return found[1:]


def now(device: str) -> float:
    if device == "cpu":
        # What this process computes: nothing waits for a device here, only for other processes.
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
