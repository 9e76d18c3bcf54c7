"""One side of a comparison, upstream or patched: answers the commands of tools/bench_host, line by line as JSON.

side.py SIDE LAYERS, in an environment that sees one release. A side is a process: its patches were applied before
any of its models was made, and the other side has none.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch

from emulated_npu import null_device

DTYPE = torch.bfloat16


def main() -> None:
    side, layers = sys.argv[1], int(sys.argv[2])
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    null_device.install(os.environ["ASCEND_PATCHES_RELEASE_TORCH_NPU"])
    served = Side(side, layers)
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        with torch.inference_mode():
            answer = getattr(served, command.pop("do"))(**command)
        print(json.dumps(answer), file=answers, flush=True)


class Side:
    """The encoders of one side and what is asked of them."""

    def __init__(self, side: str, layers: int) -> None:
        self.patched = side == "patched"
        self.layers = layers
        self.states: dict[str, str] = {}
        self._model: Any = None
        self._encoder: Any = None
        self._inputs: dict[str, Any] = {}

    def start(self) -> Any:
        """Bring the release up as its worker does, patched first where this is the patched side."""
        if self.patched:
            import ascend_patches

            ascend_patches.apply_patches()
        import torch._dynamo

        from . import worker

        # Some models compile a function of theirs, and no compiler makes code for a device that does nothing.
        torch._dynamo.config.disable = True
        worker.start()
        return {"there": [name for name, encoder in worker.encoders().items() if encoder.there()]}

    def make(self, encoder: str) -> Any:
        """Make an encoder, and forget the one before."""
        from . import worker

        self._encoder, self._inputs = worker.encoders()[encoder], {}
        self._model = self._encoder.made(self.layers, DTYPE)
        if self.patched:
            import ascend_patches

            self.states = {patch["name"]: patch["state"] for patch in ascend_patches.status()["patches"]}
        return {"states": self.states}

    def warm(self, grids: list[Any]) -> Any:
        """Forwards that are not timed, after which what lives is left alone by the collector, as vLLM does."""
        for each in grids:
            self._forward(each)
        gc.collect()
        gc.freeze()
        return None

    def run(self, grids: list[Any]) -> list[int]:
        """The thread's nanoseconds of one forward for each of the grids."""
        found = []
        for each in grids:
            pixels = self._pixels(each)
            start = time.thread_time_ns()
            self._encoder.forward(self._model, pixels, each)
            found.append(time.thread_time_ns() - start)
        return found

    def count(self, grids: Any) -> Any:
        """What one forward does on the device, and how many Python functions it calls."""
        null_device.begin()
        self._forward(grids)
        counts = null_device.counts()
        without_rule = null_device.without_rule()
        calls = 0

        def counting(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        pixels = self._pixels(grids)
        sys.setprofile(counting)
        try:
            self._encoder.forward(self._model, pixels, grids)
        finally:
            sys.setprofile(None)
        return {**vars(counts), "python_calls": calls, "without_rule": without_rule}

    def _forward(self, grids: Any) -> Any:
        return self._encoder.forward(self._model, self._pixels(grids), grids)

    def _pixels(self, grids: Any) -> torch.Tensor:
        """Made once per number of patches: their values are never looked at."""
        patches = sum(frames * rows * columns for frames, rows, columns in grids)
        if patches not in self._inputs:
            shape = self._encoder.patch(SimpleNamespace(patch_size=_patch()))
            self._inputs[patches] = torch.empty(patches, *shape, dtype=DTYPE, device="npu")
        return self._inputs[patches]


def _patch() -> int:
    return int(importlib.import_module("ascend_patches.checks.encoders")._PATCH)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from host_time.side import main as started

    started()
