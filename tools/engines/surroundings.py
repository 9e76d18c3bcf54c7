"""Where engines run: on this machine's NPU where there is one with vllm-ascend, else on the emulated one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from venvs import engine_environment, overlay

PACKAGES_ON_AN_NPU = ("torch", "torch_npu", "vllm", "vllm_ascend")
_QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
_EMULATED = {
    "EMULATED_NPU": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True)
class Surroundings:
    """An environment with a vLLM and this toolkit, and what its processes are told."""

    interpreter: Path
    variables: Mapping[str, str]
    emulated: bool

    @property
    def dtype(self) -> str:
        """What tokens can be compared in: the NPU's attention does not take float32."""
        return "float32" if self.emulated else "bfloat16"


def has_real_npu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine has an NPU, and the Python that runs this has a vLLM for it."""
    present = any(name.name.removeprefix("davinci").isdigit() for name in devices.glob("davinci*"))
    return present and all(importlib.util.find_spec(package) for package in PACKAGES_ON_AN_NPU)


def prepared(folder: Path, *, real_npu: bool) -> Surroundings:
    """The toolkit installed over the right vLLM, in an environment of its own in ``folder``."""
    base = Path(sys.executable) if real_npu else engine_environment()
    return Surroundings(
        overlay(base, folder / "environment"),
        {**_inherited(dict(os.environ), real_npu=real_npu), **_QUIET, **({} if real_npu else _EMULATED)},
        emulated=not real_npu,
    )


def _inherited(environ: Mapping[str, str], *, real_npu: bool) -> dict[str, str]:
    """Whatever is set for the toolkit is left out; on an NPU, what CANN and vLLM were set up with stays."""
    foreign = ("ASCEND_PATCHES",) if real_npu else ("ASCEND_PATCHES", "PYTHONPATH", "PYTHONHOME", "RAY_", "VLLM_")
    return {name: value for name, value in environ.items() if not name.startswith(foreign)}
