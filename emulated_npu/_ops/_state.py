"""What the emulated ops remember for the life of the process, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

Place = Literal["npu", "cpu"]
"""Where the tensors of the ops live: on the emulated device, or (for the vLLM platform) on the CPU."""


@dataclass
class OpsState:
    """The installed release, and what real torch_npu keeps in process-wide variables."""

    release: str | None = None
    place: Place = "npu"
    allow_float32: bool = False
    libraries: list[torch.library.Library] = field(default_factory=list)
    first_cos_sin_cache: torch.Tensor | None = None
    atb_loaded: bool = False

    def reset(self) -> None:
        """Forget everything and take the ops back out of the dispatcher."""
        for library in self.libraries:
            library._destroy()
        vars(self).update(vars(OpsState()))


STATE = OpsState()


def allow_float32() -> None:
    """Let every op take float32 from now on, for bitwise comparisons; the real attention ops refuse it."""
    STATE.allow_float32 = True
