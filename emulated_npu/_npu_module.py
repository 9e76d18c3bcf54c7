"""The functions of ``torch.npu``: this module itself becomes it."""

from __future__ import annotations

import contextlib
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from . import _generator, _streams
from ._graphs import ExternalEvent as ExternalEvent
from ._graphs import NPUGraph as NPUGraph
from ._graphs import graph as graph
from ._graphs import graph_pool_handle as graph_pool_handle
from ._graphs import graph_task_group_begin as graph_task_group_begin
from ._graphs import graph_task_group_end as graph_task_group_end
from ._graphs import graph_task_update_begin as graph_task_update_begin
from ._graphs import graph_task_update_end as graph_task_update_end
from ._memory import require_this_device, usage
from ._streams import Event as Event
from ._streams import Stream as Stream

_TOTAL_MEMORY = 64 * 1024**3
_NAME = "Ascend910B1"
_SOC_VERSION = 220  # torch_npu's number of the Ascend910B1

config = types.SimpleNamespace(allow_internal_format=True)


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"the emulated torch.npu has no {name!r}. If a supported release calls it, add it to {__file__}."
    )


# The device


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def init() -> None:
    pass


def _lazy_init() -> None:
    pass


def _is_in_bad_fork() -> bool:
    return False


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


def set_device(device: Any) -> None:
    _index(device)


def _exchange_device(device: int) -> int:
    _index(device)
    return 0


_maybe_exchange_device = _exchange_device


def _index(device: Any) -> int:
    """The index of the one device there is."""
    if device is None or device == -1:
        return 0
    wanted = torch.device("npu", device) if isinstance(device, int) else torch.device(device)
    if wanted.type != "npu":
        raise ValueError(f"Expected a npu device, but got: {wanted}")
    require_this_device(wanted)
    return 0


class device:  # noqa: N801 - the name it has in torch
    """The context manager ``torch.npu.device``, for the one device there is."""

    def __init__(self, device: Any) -> None:
        self.idx = _index(device)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def get_device_name(device: Any = None) -> str:
    _index(device)
    return _NAME


def get_device_capability(device: Any = None) -> None:
    """An NPU has no compute capability; torch_npu returns None as well."""
    _index(device)


def get_soc_version() -> int:
    return _SOC_VERSION


def get_device_properties(device: Any = None) -> types.SimpleNamespace:
    _index(device)
    return types.SimpleNamespace(name=_NAME, total_memory=_TOTAL_MEMORY, cube_core_num=24, vector_core_num=48)


def is_autocast_enabled() -> bool:
    return bool(torch.is_autocast_enabled("npu"))


def set_autocast_enabled(enabled: bool) -> None:
    torch.set_autocast_enabled("npu", enabled)


def get_autocast_dtype() -> torch.dtype:
    dtype: torch.dtype = torch.get_autocast_dtype("npu")
    return dtype


def set_autocast_dtype(dtype: torch.dtype) -> None:
    torch.set_autocast_dtype("npu", dtype)


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.float16, torch.bfloat16, torch.float32]


def is_bf16_supported() -> bool:
    return True


class _Limits:
    """How many cores of each kind may be used, of the device and of each stream."""

    def __init__(self) -> None:
        self.device: dict[str, int] = {}
        self.streams: dict[int, dict[str, int]] = {}


_CORES = {"cube_core_num": 24, "vector_core_num": 48}
_limits = _Limits()


def _limit(cube_num: int, vector_num: int) -> dict[str, int]:
    given = {"cube_core_num": cube_num, "vector_core_num": vector_num}
    return {name: number for name, number in given.items() if number != -1}


def set_device_limit(device: int, cube_num: int = -1, vector_num: int = -1) -> None:
    _index(device)
    _limits.device.update(_limit(cube_num, vector_num))


def get_device_limit(device: int) -> dict[str, int]:
    _index(device)
    return {**_CORES, **_limits.device}


def set_stream_limit(stream: Stream, cube_num: int = -1, vector_num: int = -1) -> None:
    _limits.streams.setdefault(stream.stream_id, {}).update(_limit(cube_num, vector_num))


def get_stream_limit(stream: Stream) -> dict[str, int]:
    return {**_CORES, **_limits.device, **_limits.streams.get(stream.stream_id, {})}


def reset_stream_limit(stream: Stream) -> None:
    _limits.streams.pop(stream.stream_id, None)


def synchronize(device: Any = None) -> None:
    _index(device)
    _streams.synchronize_device()


def set_compile_mode(jit_compile: bool = False) -> None:
    pass


# Memory


def empty_cache() -> None:
    pass


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Free and total bytes; what is in use is what npu storages of this process borrow."""
    _index(device)
    return _TOTAL_MEMORY - usage.current, _TOTAL_MEMORY


def memory_allocated(device: Any = None) -> int:
    _index(device)
    return usage.current


def max_memory_allocated(device: Any = None) -> int:
    _index(device)
    return usage.peak


# The device keeps no memory that it does not use.
memory_reserved = memory_allocated
max_memory_reserved = max_memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    _index(device)
    usage.reset_peak()


reset_max_memory_allocated = reset_peak_memory_stats


def memory_stats(device: Any = None) -> OrderedDict[str, int]:
    _index(device)
    return OrderedDict(
        (f"{kind}.all.{moment}", value)
        for kind in ("allocated_bytes", "reserved_bytes", "active_bytes")
        for moment, value in (("current", usage.current), ("peak", usage.peak))
    )


def memory_snapshot(mempool_id: Any = None) -> list[dict[str, Any]]:
    """The segments that an allocator holds: the device's memory is the host's, and there is none to show."""
    return []


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """What is in use, in a few lines."""
    _index(device)
    rows = (("Allocated memory", usage.current, usage.peak), ("Reserved memory", usage.current, usage.peak))
    lines = [f"| {name:<20} | {now:>14} B | {peak:>14} B |" for name, now, peak in rows]
    return "\n".join([f"| {'emulated NPU 0':<20} | {'Cur Usage':>16} | {'Peak Usage':>16} |", *lines])


# Random numbers


def manual_seed(seed: int) -> None:
    _generator.state.default.manual_seed(int(seed))


manual_seed_all = manual_seed


def seed() -> None:
    _generator.state.default.seed()


seed_all = seed


def initial_seed() -> int:
    return int(_generator.state.default.initial_seed())


def get_rng_state(device: Any = None) -> torch.Tensor:
    _index(device)
    state: torch.Tensor = _generator.state.default.get_state()
    return state


def set_rng_state(new_state: torch.Tensor, device: Any = None) -> None:
    _index(device)
    _generator.state.default.set_state(new_state)


def get_rng_state_all() -> list[torch.Tensor]:
    return [get_rng_state()]


def set_rng_state_all(new_states: list[torch.Tensor]) -> None:
    for new_state in new_states:
        set_rng_state(new_state)


default_generators = _generator.DefaultGenerators()


# Streams


def current_stream(device: Any = None) -> Stream:
    _index(device)
    return _streams.stream_with(_streams.current_stream_id())


def default_stream(device: Any = None) -> Stream:
    _index(device)
    return _streams.stream_with(_streams.DEFAULT_STREAM)


def set_stream(stream: Any) -> None:
    if stream is None:
        return
    _streams.set_current_stream_id(stream.stream_id)


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Put what the ``with`` block does on ``stream``; None leaves the current one."""
    with _streams.on_stream(_streams.current_stream_id() if stream is None else stream.stream_id):
        yield


StreamContext = stream


# Types of tensors


class _TensorType(type):
    """``torch.npu.FloatTensor`` and the like: make tensors of one dtype, and tell them by ``isinstance``."""

    dtype: torch.dtype

    def __call__(cls, *content: Any) -> torch.Tensor:
        if len(content) == 1 and not isinstance(content[0], int):
            return torch.tensor(content[0], dtype=cls.dtype, device="npu")
        return torch.empty(content, dtype=cls.dtype, device="npu")

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, torch.Tensor) and instance.device.type == "npu" and instance.dtype == cls.dtype


def _tensor_type(name: str, dtype: torch.dtype) -> Any:
    return _TensorType(name, (), {"dtype": dtype, "__module__": "torch.npu"})


BoolTensor = _tensor_type("BoolTensor", torch.bool)
ByteTensor = _tensor_type("ByteTensor", torch.uint8)
CharTensor = _tensor_type("CharTensor", torch.int8)
ShortTensor = _tensor_type("ShortTensor", torch.int16)
IntTensor = _tensor_type("IntTensor", torch.int32)
LongTensor = _tensor_type("LongTensor", torch.int64)
HalfTensor = _tensor_type("HalfTensor", torch.float16)
BFloat16Tensor = _tensor_type("BFloat16Tensor", torch.bfloat16)
FloatTensor = _tensor_type("FloatTensor", torch.float32)
DoubleTensor = _tensor_type("DoubleTensor", torch.float64)


# Graphs


def is_current_stream_capturing() -> bool:
    return _streams.capturing()
