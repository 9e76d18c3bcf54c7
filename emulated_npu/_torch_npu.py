"""Builds the module that stands in for torch_npu, with its submodules, for one release."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import Any

import torch

from . import _beside, _schemas, _streams, _torchair
from ._errors import EmulatedNpuError, RealTorchNpuError
from ._ops import _registration
from ._ops._state import STATE, Place
from ._refusals import NotEmulatedError
from ._stand_in import StandIn, fill, put_in_place, refusing_class, refusing_function

_OPS_FOLDER = "emulated_npu/_ops"

# Dtypes that torch_npu has and torch has not are numbers in torch_npu.
_DTYPE_NUMBERS = {
    "int4": 285,
    "hifloat8": 290,
    "float8_e8m0fnu": 293,
    "float4_e2m1fn_x2": 296,
    "float4_e1m2fn_x2": 297,
}
_DTYPE_NUMBERS_SINCE = "2.11.0"
_FORMAT_SINCE = "2.5.1.post1"


class Format(IntEnum):
    """The storage formats of the device, by torch_npu's names and numbers."""

    UNDEFINED = -1
    NCHW = 0
    NHWC = 1
    ND = 2
    NC1HWC0 = 3
    FRACTAL_Z = 4
    NC1HWC0_C04 = 12
    HWCN = 16
    NDHWC = 27
    FRACTAL_NZ = 29
    NCDHW = 30
    NDC1HWC0 = 32
    FRACTAL_Z_3D = 33
    NC = 35
    NCL = 47

    def __str__(self) -> str:
        return self.name


class AnotherReleaseError(EmulatedNpuError):
    """The ops of one torch_npu release are in this process, and those of another were asked for."""


def install(release: str, *, allow_float32: bool = False, place: Place = "npu") -> None:
    """Put the ``torch_npu`` of ``release`` in place and register its ops; a second call does nothing.

    ``allow_float32`` lets float32 into the ops that take half precision only, for bitwise comparisons.
    """
    wanted = (release, place, allow_float32)
    if STATE.release is not None:
        present = (STATE.release, STATE.place, STATE.allow_float32)
        if present != wanted:
            raise AnotherReleaseError(
                f"the ops of {_described(*present)} are installed in this process; {_described(*wanted)} cannot be "
                "installed beside them. Use a process of its own."
            )
        return
    loaded = sys.modules.get("torch_npu")
    if loaded is not None and not isinstance(loaded, StandIn):
        raise RealTorchNpuError(
            f"a torch_npu is loaded in this process already, from {getattr(loaded, '__file__', 'an unknown place')}; "
            "the emulated one cannot stand beside it. Use a process of its own."
        )
    _schemas.schemas(release)
    STATE.release, STATE.place, STATE.allow_float32 = release, place, allow_float32
    _registration.register(release)
    _build(release, place)
    _torchair.install()
    # vllm-ascend 0.30 imports it in every worker; the others are asked for where they are wanted.
    _beside.install_stand_ins("fla_npu")


def install_ops_on_cpu(torch_npu: str = _schemas.NEWEST, *, allow_float32: bool = False) -> None:
    """Put ``torch_npu`` in place with ops that take CPU tensors; there is no npu device then.

    For an engine whose platform is emulated and whose tensors stay on the CPU.
    """
    install(torch_npu, allow_float32=allow_float32, place="cpu")


def _described(release: str, place: Place, allow_float32: bool) -> str:
    return f"torch_npu {release} for {place} tensors" + (" with float32 allowed" if allow_float32 else "")


def _build(release: str, place: Place) -> None:
    root = _module("torch_npu", release)
    root._advise = lambda name: _advice(name, release)
    fill(root, {"__version__": release, **_ops_of("npu", release), **_lazy_atb(release, "_npu_")})
    if _schemas.at_least(release, _DTYPE_NUMBERS_SINCE):
        fill(root, _DTYPE_NUMBERS)
    if _schemas.at_least(release, _FORMAT_SINCE):
        fill(root, {"Format": Format, "get_npu_format": _get_npu_format})
    if any(op.startswith("atb::npu_") for op in _schemas.schemas(release)):
        fill(_module("torch_npu.atb", release), _lazy_atb(release, "npu_"))
    _put_npu_in_place(root, release, place)
    for name, content in _submodules().items():
        fill(_module(name, release), content)
    for name, content in _CANN.items():
        module = StandIn(name, "the emulated NPU", __file__)
        fill(module, content)
        put_in_place(module)


def _module(name: str, release: str) -> StandIn:
    module = StandIn(name, f"the emulated torch_npu {release}", __file__)
    put_in_place(module)
    return module


def _advice(name: str, release: str) -> str:
    having = [
        known
        for known in _schemas.RELEASES
        if any(op.split("::")[1].partition(".")[0] == name for op in _schemas.schemas(known))
    ]
    if having:
        return f"That op is in torch_npu {', '.join(having)}, and not in {release}."
    if name.startswith(("npu_", "_npu_")):
        return (
            f"If torch_npu {release} has that op, add its schema to {_schemas.FILE} and its reference implementation "
            f"to {_OPS_FOLDER}."
        )
    return f"Add it to {__file__}."


# The ops


def _names(namespace: str, release: str) -> list[str]:
    found = (op.split("::") for op in _schemas.schemas(release))
    return sorted({name.partition(".")[0] for space, name in found if space == namespace})


def _ops_of(namespace: str, release: str) -> dict[str, Any]:
    packets = getattr(torch.ops, namespace)
    return {name: getattr(packets, name) for name in _names(namespace, release)}


def _lazy_atb(release: str, prefix: str) -> dict[str, Any]:
    return {name: _lazy(name) for name in _names("atb", release) if name.startswith(prefix)}


def _lazy(name: str) -> Callable[..., Any]:
    """What torch_npu has for an ATB op until the first call of any of them: that call overwrites all of these."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _register_atb_extensions()
        return getattr(torch.ops.atb, name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call


def _register_atb_extensions() -> None:
    """Overwrite the ATB attributes with the ops themselves, once, as torch_npu does; patched ones as well."""
    if STATE.atb_loaded:
        return
    STATE.atb_loaded = True
    release = STATE.release or _schemas.NEWEST
    for name, packet in _ops_of("atb", release).items():
        home = "torch_npu" if name.startswith("_npu_") else "torch_npu.atb"
        setattr(sys.modules[home], name, packet)


def _get_npu_format(tensor: torch.Tensor) -> Format:
    return Format(torch.ops.npu.get_npu_format(tensor))


# The submodules


def _put_npu_in_place(root: StandIn, release: str, place: Place) -> None:
    """``torch_npu.npu`` is ``torch.npu``; where there is no device, it says so."""
    if place == "npu":
        npu: ModuleType = torch.npu
        sys.modules["torch_npu.npu"] = npu
        fill(root, {"npu": npu})
        _put_memory_in_place(npu, release)
        streams: dict[str, Any] = {"Event": npu.Event, "Stream": npu.Stream, "ExternalEvent": npu.ExternalEvent}
    else:
        _module("torch_npu.npu", release)._advise = lambda _: (
            "The ops are installed for CPU tensors and there is no npu device; emulated_npu.install() makes one."
        )
        streams = {name: refusing_class(f"torch_npu.npu.streams.{name}", __file__) for name in ("Event", "Stream")}
    module = StandIn("torch_npu.npu.streams", f"the emulated torch_npu {release}", __file__, package=False)
    fill(module, streams)
    put_in_place(module)


_MEMORY = (
    *("empty_cache", "mem_get_info", "memory_allocated", "max_memory_allocated", "memory_reserved"),
    *("max_memory_reserved", "memory_stats", "memory_snapshot", "memory_summary", "reset_peak_memory_stats"),
    "reset_max_memory_allocated",
)


def _put_memory_in_place(npu: ModuleType, release: str) -> None:
    """``torch_npu.npu.memory``, which is ``torch.npu.memory`` as well."""
    module = StandIn("torch_npu.npu.memory", f"the emulated torch_npu {release}", __file__, package=False)
    fill(
        module,
        {
            **{name: getattr(npu, name) for name in _MEMORY},
            **_functions("torch.npu.memory", "change_current_allocator", "use_mem_pool"),
            **_classes("torch.npu.memory", "NPUPluggableAllocator", "MemPool"),
        },
    )
    put_in_place(module)
    npu.memory = module  # type: ignore[attr-defined]
    sys.modules["torch.npu.memory"] = module


def _functions(module: str, *names: str) -> dict[str, Any]:
    return {name: refusing_function(f"{module}.{name}", __file__) for name in names}


def _classes(module: str, *names: str) -> dict[str, Any]:
    return {name: refusing_class(f"{module}.{name}", __file__) for name in names}


def _get_soc_version() -> int:
    if STATE.place == "cpu":
        raise NotEmulatedError(
            "torch_npu._C._npu_get_soc_version: the ops are installed for CPU tensors, without a device"
        )
    version: int = torch.npu.get_soc_version()
    return version


def _set_stream(stream_id: int, device_index: int = 0, device_type: int = 0) -> None:
    _streams.set_current_stream_id(stream_id)


def _current_stream(device_index: int = 0) -> tuple[int, int, int]:
    stream = _streams.stream_with(_streams.current_stream_id())
    return stream.stream_id, stream.device_index, stream.device_type


def _weak_ref_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory; that the real one does not keep it alive only matters to a graph's memory pool."""
    return tensor.detach()


def _submodules() -> dict[str, dict[str, Any]]:
    """What supported vllm-ascend releases import, parents first."""
    return {
        "torch_npu._C": {
            "_npu_get_soc_version": _get_soc_version,
            "_weak_ref_tensor": _weak_ref_tensor,
            "_npu_setStream": _set_stream,
            "_npu_getCurrentStream": _current_stream,
            **_classes("torch_npu._C", "_NPUTaskGroupHandle"),
        },
        "torch_npu._C._distributed_c10d": {
            "ProcessGroupHCCL": refusing_class(
                "torch_npu._C._distributed_c10d.ProcessGroupHCCL",
                __file__,
                Options=refusing_class("torch_npu._C._distributed_c10d.ProcessGroupHCCL.Options", __file__),
            )
        },
        "torch_npu.op_plugin": {},
        "torch_npu.op_plugin.atb": {},
        "torch_npu.op_plugin.atb._atb_ops": {"_register_atb_extensions": _register_atb_extensions},
        "torch_npu.profiler": {
            **_functions("torch_npu.profiler", "tensorboard_trace_handler"),
            **_classes(
                "torch_npu.profiler",
                *("profile", "_ExperimentalConfig", "ProfilerActivity", "ProfilerLevel", "AiCMetrics", "ExportType"),
            ),
        },
        "torch_npu.profiler.dynamic_profile": _functions("torch_npu.profiler.dynamic_profile", "init", "step"),
        "torch_npu.multiprocessing": {},
        "torch_npu.multiprocessing.reductions": _functions(
            "torch_npu.multiprocessing.reductions", "rebuild_npu_tensor"
        ),
    }


_CANN: dict[str, dict[str, Any]] = {
    # CANN's own Python interface, which comes with the driver packages and not from an index.
    "acl": {},
    "acl.rt": _functions("acl.rt", "memcpy"),
}
