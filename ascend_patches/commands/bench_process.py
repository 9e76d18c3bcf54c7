"""A side of ``ascend-patches bench``: one model's vision encoder, made after this side's patches were applied."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import Any

import ascend_patches
from ascend_patches.checks import device
from ascend_patches.checks.device import Device
from ascend_patches.commands import side_process, verify_process

WARM = 4


def main() -> None:
    side_process.answer(lambda: Side(sys.argv[1]))
    # What is left would be seconds of taking apart a process that is not needed any more.
    os._exit(0)


class Side:
    """What is asked of one side."""

    def __init__(self, side: str) -> None:
        self.patched = side == "patched"
        self._on: Device
        self._checkpoint: Any = None
        self._model: Any = None
        self._inputs: tuple[Any, Any] = (None, None)

    def start(self, model: str) -> Any:
        """Bring the device up and make the model's encoder on it."""
        self._on = device.bring_for_times()
        from ascend_patches.checks import as_worker, checkpoint

        checkpoint.title(model)
        if self.patched:
            ascend_patches.apply_patches()
        with verify_process.without_collecting():
            as_worker.start()
            self._checkpoint = checkpoint.read(model)
            self._model = self._checkpoint.made()
        return {"encoder": self._checkpoint.title, "weights": self._checkpoint.weights, "dtype": self._checkpoint.dtype}

    def warm(self, pictures: int, width: int, height: int, frames: int) -> Any:
        """Take this input and run it, untimed; what lives by then is left alone by the collector, as vLLM does."""
        import torch

        patches = [self._checkpoint.grid(width, height, frames)] * pictures
        encoder, dtype = self._checkpoint.encoder, getattr(torch, self._checkpoint.dtype)
        self._inputs = encoder.pixels(patches, dtype, encoder.patch(self._checkpoint.vision)), patches
        self.run(WARM)
        gc.collect()
        gc.freeze()
        return {"grids": patches}

    def run(self, forwards: int) -> list[list[float]]:
        """The microseconds of each forward: those of the host, and on a real NPU those until the device is done."""
        import torch

        with torch.inference_mode():
            return [self._on_null_device() if self._on.emulated else self._on_npu() for _ in range(forwards)]

    def about(self) -> Any:
        """Where this was measured, and what the patches of this side are by now."""
        shown = ("name", "state", "reason", "variant")
        patches = [{key: patch[key] for key in shown} for patch in ascend_patches.status()["patches"]]
        return {**verify_process.about(self._on), "patches": patches}

    def _on_null_device(self) -> list[float]:
        # The thread's own time: what others on the machine do counts little in it.
        begin = time.thread_time_ns()
        self._checkpoint.encoder.forward(self._model, *self._inputs)
        return [(time.thread_time_ns() - begin) / 1000]

    def _on_npu(self) -> list[float]:
        import torch

        torch.npu.synchronize()
        begin = time.perf_counter_ns()
        self._checkpoint.encoder.forward(self._model, *self._inputs)
        returned = time.perf_counter_ns()
        torch.npu.synchronize()
        return [(returned - begin) / 1000, (time.perf_counter_ns() - begin) / 1000]


if __name__ == "__main__":
    main()
