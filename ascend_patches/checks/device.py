"""The device that patches are verified on: a real NPU, or the emulated one where that was asked for."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires

from ascend_patches.checks import emulation
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions
from ascend_patches.upstream.versions import parse


class NoDeviceError(AscendPatchesError):
    """There is no NPU to verify on."""


@dataclass(frozen=True)
class Device:
    """Where results came from, for reports."""

    name: str
    emulated: bool
    torch_npu: str


def bring(*, emulated: bool) -> Device:
    """Make ``npu`` a device of this process. Before vLLM is imported, as a serving process has it."""
    _need_torch()
    if not emulation.in_use() and distributions.has_module("torch_npu"):
        if emulated:
            raise NoDeviceError("torch_npu is installed: verify without --emulated, on the real NPU")
        return _real()
    if not emulated:
        raise NoDeviceError(
            "no NPU: torch_npu is not installed in this environment. "
            "`ascend-patches verify --emulated` verifies on an emulated NPU, whose results say nothing about a real "
            "one's kernels, but everything about what is called with what"
        )
    return _emulated()


def bring_for_times() -> Device:
    """The same for times: without a real NPU a device that does nothing, because emulated kernels take other times."""
    _need_torch()
    if emulation.in_use():
        raise NoDeviceError("the emulated NPU is in use in this process, and its times say nothing; unset EMULATED_NPU")
    if distributions.has_module("torch_npu"):
        return _real()
    emulated_npu = emulation.required()
    emulated_npu.let_torchvision_import()
    try:
        importlib.import_module("emulated_npu.null_device").install(nearest_release(required_torch_npu()))
    except emulated_npu.EmulatedNpuError as error:
        raise NoDeviceError(f"no NPU, and no device in its place: {error}") from None
    import torch
    import torch._dynamo
    import torch_npu

    # Some models compile a function of theirs, and no compiler makes code for a device that does nothing.
    torch._dynamo.config.disable = True
    torch.set_num_threads(1)
    return Device("a device that does nothing", True, str(torch_npu.__version__))


def _need_torch() -> None:
    if not distributions.has_module("torch"):
        raise NoDeviceError("torch is not installed in this environment; use the environment that serves")
    # torch loads by itself what is installed for it: only then is there something to see.
    importlib.import_module("torch")


def _real() -> Device:
    import torch
    import torch_npu

    if not torch.npu.is_available():
        raise NoDeviceError("torch_npu is installed, but sees no NPU; does `npu-smi info` show one to this user?")
    torch.npu.set_device(0)
    return Device(torch.npu.get_device_name(0), False, str(torch_npu.__version__))


def _emulated() -> Device:
    emulated_npu = emulation.required()
    from ascend_patches.checks import world

    emulated_npu.let_torchvision_import()
    if not emulated_npu.installed():
        emulated_npu.install(nearest_release(required_torch_npu()), allow_float32=True)
    world.start()
    import torch
    import torch_npu

    torch.set_num_threads(1)
    return Device("emulated NPU", True, str(torch_npu.__version__))


def required_torch_npu() -> str:
    """The release of torch_npu that the installed vllm-ascend asks for; nothing if it asks for none."""
    try:
        requirements = requires("vllm-ascend") or []
    except PackageNotFoundError:
        return ""
    found = (re.fullmatch(r"torch[-_]npu\s*\(?==\s*([^;,)\s]+).*", each) for each in requirements)
    return next((match[1] for match in found if match), "")


def nearest_release(required: str) -> str:
    """Of the emulated releases that are not older than the required one the nearest; without one the newest."""
    releases = emulation.required().RELEASES
    wanted = parse(required)
    numbers = {release: known.release for release in releases if (known := parse(release)) is not None}
    fitting = [found for found in numbers.values() if wanted is not None and found >= wanted.release]
    if not fitting:
        return str(releases[-1])
    return str([release for release, found in numbers.items() if found == min(fitting)][-1])
