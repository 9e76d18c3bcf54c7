"""Run on one release: vision blocks under torch.compile, as upstream and patched. Prints one JSON object.

compiled_encoders_run.py torch.compile ENCODER...        every block, as a user would
compiled_encoders_run.py compile_mm_encoder ENCODER...   by vLLM itself, from 0.28 on
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo

import ascend_patches
from ascend_patches.checks import encoder, world
from ascend_patches.checks.encoders import ENCODERS, GRIDS

# What vLLM would compile ahead of time it would also store, and this backend's graphs cannot be stored.
os.environ["VLLM_USE_AOT_COMPILE"] = "0"
LAYERS = 2
# Shapes that a compiler has not seen, shapes that it has, and a single sequence: sizes of one are never symbols to it.
INPUTS = (GRIDS, GRIDS, [[1, 2, 4], [1, 6, 4]], GRIDS, [[1, 4, 4]])


class Counting:
    """A compiler's backend that runs what it is given as it is, and counts."""

    def __init__(self) -> None:
        self.graphs = 0
        self.runs = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*arguments: torch.Tensor) -> Any:
            self.runs += 1
            return module.forward(*arguments)

        return run


def whole(block: torch.nn.Module, backend: Counting) -> None:
    block.forward = torch.compile(block.forward, backend=backend)


def by_vllm(block: torch.nn.Module, backend: Counting) -> None:
    """These compile themselves, as the configuration says."""
    assert not block.do_not_compile


def without_attention(block: torch.nn.Module, backend: Counting) -> None:
    block.attn.forward = torch.compiler.disable(block.attn.forward)
    block.forward = torch.compile(block.forward, backend=backend)


BACKEND = "counting"
_current: list[Counting] = []


def counted(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    return _current[0](module, inputs)


torch._dynamo.register_backend(counted, name=BACKEND)
Way = Callable[[Any, Counting], None]
BY_USERS: dict[str, Way] = {"whole blocks": whole, "blocks without their attention": without_attention}
BY_VLLM: dict[str, Way] = {"compile_mm_encoder": by_vllm}
# Apart, because a process of vLLM keeps what it was first configured to compile.
WAYS = {"torch.compile": BY_USERS, "compile_mm_encoder": BY_VLLM}


@contextmanager
def compiling() -> Iterator[None]:
    """The configuration in which vLLM compiles encoders, with this file's backend."""
    with world.configured():
        from vllm.config import CompilationMode, get_current_vllm_config

        current = get_current_vllm_config().compilation_config
        current.mode, current.backend = CompilationMode.DYNAMO_TRACE_ONCE, BACKEND
        current.compile_mm_encoder = True
        yield


def made(name: str, way: str) -> torch.nn.Module:
    configured = compiling if way in BY_VLLM else world.configured
    with mock.patch.object(encoder, "world", SimpleNamespace(**{**vars(world), "configured": configured})):
        return ENCODERS[name].made(LAYERS, torch.float32)


def compiled(name: str, way: str) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """How many graphs there were after each forward, how many each ran, and the outputs."""
    torch._dynamo.reset()
    backend = Counting()
    _current[:] = [backend]
    model = made(name, way)
    torch._dynamo.config.disable = False
    for block in model.blocks:
        {**BY_USERS, **BY_VLLM}[way](block, backend)
    found: dict[str, Any] = {"graphs": [], "runs": [], "refused": None}
    outputs = []
    for grids in INPUTS:
        before = backend.runs
        try:
            outputs.append(ENCODERS[name].run(model, grids, torch.float32).cpu())
        except RuntimeError as error:
            found["refused"] = type(error).__name__
            break
        found["graphs"].append(backend.graphs)
        found["runs"].append(backend.runs - before)
    return found, outputs


def main() -> None:
    torch.set_num_threads(1)
    asked = [(name, way) for name in sys.argv[2:] if ENCODERS[name].there() for way in WAYS[sys.argv[1]]]
    with torch.inference_mode():
        upstream = {each: compiled(*each) for each in asked}
        status = ascend_patches.apply_patches()
        patched = {each: compiled(*each) for each in asked}
    found = [
        {
            "encoder": name,
            "way": way,
            "upstream": upstream[name, way][0],
            "patched": patched[name, way][0],
            "equal": all(map(torch.equal, upstream[name, way][1], patched[name, way][1])),
        }
        for name, way in asked
    ]
    print(json.dumps({"found": found, "patches": {patch["name"]: patch["state"] for patch in status["patches"]}}))


if __name__ == "__main__":
    main()
