"""Names of torch that have to know the npu device, because torch asks a device written in C++ for them."""

from __future__ import annotations

from typing import Any

import torch

from . import _generator, _npu_module, _pinned, _streams
from ._memory import FORMAT, new_storage

_ACCELERATOR = {
    "current_stream": _npu_module.current_stream,
    "set_stream": _npu_module.set_stream,
    "synchronize": _npu_module.synchronize,
    "set_device_index": _npu_module.set_device,
    "set_device_idx": _npu_module.set_device,
    "empty_cache": _npu_module.empty_cache,
    "empty_host_cache": _npu_module.empty_cache,
    "get_memory_info": _npu_module.mem_get_info,
    "memory_stats": _npu_module.memory_stats,
    "memory_allocated": _npu_module.memory_allocated,
    "memory_reserved": _npu_module.memory_reserved,
    "max_memory_allocated": _npu_module.max_memory_allocated,
    "max_memory_reserved": _npu_module.max_memory_reserved,
    "reset_peak_memory_stats": _npu_module.reset_peak_memory_stats,
    "reset_accumulated_memory_stats": _npu_module.reset_peak_memory_stats,
}
"""Functions of ``torch.accelerator`` and what they are on the npu device."""


def install() -> None:
    """Replace the names; they keep working for every other device."""
    for name, function in _ACCELERATOR.items():
        # torch.accelerator re-exports what torch.accelerator.memory has: both are asked.
        for home in (torch.accelerator, torch.accelerator.memory):
            if hasattr(home, name):
                setattr(home, name, function)
    torch.is_autocast_enabled = _is_autocast_enabled
    torch.distributed.is_hccl_available = _is_hccl_available
    torch.Stream = _streams.Stream
    torch.Event = _streams.Event
    torch.Generator = _generator.Generator
    torch.UntypedStorage.__new__ = _new_untyped_storage
    torch.UntypedStorage.clone = _clone_storage
    torch.Tensor.data = property(_get_data, _set_data)
    _pinned.install_factories()


_any_autocast_enabled = torch.is_autocast_enabled


def _is_autocast_enabled(device_type: str | None = None) -> bool:
    """Without a device type torch asks the first accelerator it knows, which is never one from outside."""
    if device_type is not None:
        return bool(_any_autocast_enabled(device_type))
    return bool(_any_autocast_enabled() or _any_autocast_enabled("npu"))


def _is_hccl_available() -> bool:
    """As torch_npu says it; a process group of the emulated device cannot be made all the same."""
    return True


def _new_untyped_storage(cls: type, *args: Any, **kwargs: Any) -> Any:
    device = kwargs.get("device")
    if device is None or torch.device(device).type != "npu":
        return torch._C.StorageBase.__new__(cls, *args, **kwargs)
    content = args[0] if args else kwargs.get("size", 0)
    if isinstance(content, int):
        return new_storage(content)
    storage = new_storage(len(content))
    storage.copy_(torch.UntypedStorage(content))
    return storage


_clone_any_storage = torch.UntypedStorage.clone


def _clone_storage(storage: Any) -> Any:
    """A copy of a storage, with its format: deepcopy makes tensors of it."""
    copy = _clone_any_storage(storage)
    if storage.device.type == "npu" and hasattr(storage, FORMAT):
        setattr(copy, FORMAT, getattr(storage, FORMAT))
    return copy


def _get_data(tensor: torch.Tensor) -> Any:
    return torch._C.TensorBase.data.__get__(tensor)


def _set_data(tensor: torch.Tensor, data: torch.Tensor) -> None:
    if "npu" not in (tensor.device.type, data.device.type) or tensor.device == data.device:
        torch._C.TensorBase.data.__set__(tensor, data)
        return
    # torch lets only backends written in C++ exchange the inside of a tensor with a CPU tensor's.
    replacement = torch.Tensor._make_subclass(type(tensor), data, tensor.requires_grad)
    replacement.__dict__.update(tensor.__dict__)
    torch.utils.swap_tensors(tensor, replacement)
