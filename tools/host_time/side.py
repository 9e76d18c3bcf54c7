"""One side of a comparison, upstream or patched: answers the commands of tools/bench_host, line by line as JSON.

side.py SIDE, in an environment that sees one release. A side is a process: its patches were applied before
any of its models was made, and the other side has none.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.commands import side_process
from emulated_npu import null_device

DTYPE = torch.bfloat16


def main() -> None:
    side_process.answer(_made, torch.inference_mode)


def _made() -> Side:
    torch.set_num_threads(1)
    null_device.install(os.environ["ASCEND_PATCHES_RELEASE_TORCH_NPU"])
    return Side(sys.argv[1])


class Side:
    """The encoders of one side and what is asked of them."""

    def __init__(self, side: str) -> None:
        self.patched = side == "patched"
        self.states: dict[str, str] = {}
        self._models: dict[int, Any] = {}
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
        return {"there": list(worker.encoders())}

    def make(self, encoder: str, layers: list[int]) -> Any:
        """Make an encoder with so many layers, for each of the numbers, and forget the ones before."""
        from . import pictures, worker

        self._encoder, self._inputs = worker.encoders()[encoder], {}
        self._models = {each: self._encoder.made(each, DTYPE) for each in layers}
        for model in self._models.values():
            for part in model.modules():
                # Tables of positions for so many rows and columns, made when they are first asked for.
                if hasattr(part, "max_height"):
                    part.max_height = part.max_width = pictures.LARGEST
        if self.patched:
            import ascend_patches

            self.states = {patch["name"]: patch["state"] for patch in ascend_patches.status()["patches"]}
        return {"states": self.states}

    def cost(self, launch_us: float, wait_us: float) -> None:
        """Let every kernel and every wait take this much more."""
        null_device.set_costs(launch_us=launch_us, wait_us=wait_us)

    def warm(self, layers: int, grids: list[Any]) -> Any:
        """Forwards that are not timed, after which what lives is left alone by the collector, as vLLM does."""
        for each in grids:
            self._forward(layers, each)
        gc.collect()
        gc.freeze()
        return None

    def run(self, layers: int, grids: list[Any]) -> list[int]:
        """The thread's nanoseconds of one forward for each of the grids."""
        found, model = [], self._models[layers]
        for each in grids:
            pixels = self._pixels(each)
            start = time.thread_time_ns()
            self._encoder.forward(model, pixels, each)
            found.append(time.thread_time_ns() - start)
        return found

    def count(self, layers: int, grids: Any) -> Any:
        """What one forward does on the device, and how many Python functions it calls."""
        null_device.begin()
        self._forward(layers, grids)
        counts = null_device.counts()
        without_rule = null_device.without_rule()
        calls = 0

        def counting(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        pixels = self._pixels(grids)
        sys.setprofile(counting)
        try:
            self._encoder.forward(self._models[layers], pixels, grids)
        finally:
            sys.setprofile(None)
        return {**vars(counts), "python_calls": calls, "without_rule": without_rule}

    def floor(self, layers: int, grids: Any) -> float:
        """The microseconds of the kernels of a forward alone."""
        from . import floor

        return floor.microseconds(floor.recorded(lambda: self._forward(layers, grids)))

    def profile(self, layers: int, grids: Any, forwards: int) -> Any:
        """Whose code the time of some forwards is spent in."""
        from . import sampling

        return sampling.sampled(lambda: self._forward(layers, grids), forwards)

    def _forward(self, layers: int, grids: Any) -> Any:
        return self._encoder.forward(self._models[layers], self._pixels(grids), grids)

    def _pixels(self, grids: Any) -> torch.Tensor:
        """Made once per number of patches: their values are never looked at."""
        patches = sum(frames * rows * columns for frames, rows, columns in grids)
        if patches not in self._inputs:
            from ascend_patches.checks.encoder import PATCH

            shape = self._encoder.patch(SimpleNamespace(patch_size=PATCH))
            self._inputs[patches] = torch.empty(patches, *shape, dtype=DTYPE, device="npu")
        return self._inputs[patches]


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from host_time.side import main as started

    started()
