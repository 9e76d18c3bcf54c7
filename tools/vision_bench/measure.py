"""Measures every encoder of the release that this process sees, as upstream and patched, and prints JSON.

measure.py LAYERS ENCODER...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import ascend_patches
import emulated_npu
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, GRIDS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from host_time import worker

TYPES = (torch.float32, torch.bfloat16)


@dataclass
class Cost:
    """What a forward costs: copies to the host and waits as a whole; all else per layer, the last two of attention."""

    copies: int = 0
    waits: int = 0
    stalls: int = 0
    dispatches: float = 0
    kernels: float = 0
    hidden: float = 0
    attention_kernels: float = 0
    attention_hidden: float = 0


def main() -> None:
    torch.set_num_threads(1)
    layers, names = int(sys.argv[1]), [name for name in sys.argv[2:] if ENCODERS[name].there()]
    if world.with_vllm_ascend():
        worker.start()
    with torch.inference_mode():
        upstream = {(name, dtype): measured(name, layers, dtype) for name in names for dtype in TYPES}
        status = ascend_patches.apply_patches()
        patched = {(name, dtype): measured(name, layers, dtype) for name in names for dtype in TYPES}
    found = {
        name: {
            "upstream": asdict(upstream[name, torch.bfloat16][0]),
            "patched": asdict(patched[name, torch.bfloat16][0]),
            "difference": {
                str(dtype).removeprefix("torch."): difference(upstream[name, dtype][1], patched[name, dtype][1])
                for dtype in TYPES
            },
        }
        for name in names
    }
    states = {patch["name"]: patch["state"] for patch in status["patches"]}
    print(json.dumps({"encoders": found, "patches": states}))


def measured(name: str, layers: int, dtype: torch.dtype) -> tuple[Cost, torch.Tensor]:
    """The second forward of a model: what is made once per model is made by then."""
    encoder = ENCODERS[name]
    model = encoder.made(layers, dtype)
    encoder.run(model, GRIDS, dtype)
    with emulated_npu.record() as log, attention_counted(model, log) as attention:
        output = encoder.run(model, GRIDS, dtype)
    cost = Cost(
        copies=len(log.device_to_host),
        waits=len(log.waits),
        stalls=len(log.waits_after_first_kernel),
        dispatches=log.dispatches / layers,
        kernels=log.kernels / layers,
        hidden=log.hidden_kernels.total() / layers,
        attention_kernels=attention.kernels / layers,
        attention_hidden=attention.hidden / layers,
    )
    return cost, output.cpu()


@dataclass
class _Counted:
    kernels: int = 0
    hidden: int = 0


@contextmanager
def attention_counted(model: Any, log: emulated_npu.Log) -> Iterator[_Counted]:
    """Counts what attention layers do, without the linear layers in them."""
    counted = _Counted()
    hooks: list[Any] = []

    def count(module: Any, sign: int) -> None:
        def before(*_: Any) -> None:
            counted.kernels -= sign * log.kernels
            counted.hidden -= sign * log.hidden_kernels.total()

        def after(*_: Any) -> None:
            counted.kernels += sign * log.kernels
            counted.hidden += sign * log.hidden_kernels.total()

        hooks.extend((module.register_forward_pre_hook(before), module.register_forward_hook(after)))

    for module in model.modules():
        if hasattr(module, "qkv") and hasattr(module, "proj"):
            count(module, 1)
            count(module.qkv, -1)
            count(module.proj, -1)
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest, 0.0 only where every bit is the same."""
    if torch.equal(one, other):
        return 0.0
    return float((one.double() - other.double()).abs().max())


if __name__ == "__main__":
    main()
