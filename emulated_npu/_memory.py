"""Device memory: CPU memory under another name, so that moving between the two names never copies.

An npu storage borrows the memory of a CPU tensor. The block that owns that memory hangs on the storage's Python
object, which torch keeps for exactly as long as the storage lives: holding either name holds the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# The name "npu" for this backend exists only once the device is installed.
NPU = torch.device("privateuseone", 0)
CPU = torch.device("cpu")

# Redispatching with these keys reaches the CPU kernel. Kernels that only arrange sizes, strides and storage take the
# device from the tensor, so they serve an npu tensor as it is.
CPU_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

_set_storage = torch.ops.aten.set_.source_Storage_storage_offset.redispatch
_borrow = torch._C._construct_storage_from_data_pointer


class Usage:
    """How many bytes of the device are in use, and how many were at most.

    Without a lock: storages may die inside one, and CPython does not switch threads within a plain ``+=``.
    """

    def __init__(self) -> None:
        self.current = 0
        self.peak = 0

    def reset_peak(self) -> None:
        self.peak = self.current


usage = Usage()


class _Block:
    """The owner of the memory behind one npu storage."""

    __slots__ = ("bytes", "host")

    def __init__(self, host: torch.Tensor, size: int) -> None:
        self.host = host
        self.bytes = size
        usage.current += size
        if usage.current > usage.peak:
            usage.peak = usage.current

    def __del__(self) -> None:
        usage.current -= self.bytes


def is_npu(value: object) -> bool:
    """Whether ``value`` is a tensor on the npu device."""
    return isinstance(value, torch.Tensor) and value.device.type == "npu"


def alias(tensor: torch.Tensor) -> torch.Tensor:
    """The CPU tensor over the memory of an npu tensor."""
    host = host_tensor(tensor.untyped_storage())
    if host.dtype is tensor.dtype:
        view = torch.as_strided(host, tensor.size(), tensor.stride(), tensor.storage_offset())
    else:
        view = torch.empty(0, dtype=tensor.dtype, device=CPU).set_(
            host.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
        )
    if tensor.is_conj():
        view = torch._conj(view)
    return torch._neg_view(view) if tensor.is_neg() else view


def unresizable_alias(tensor: torch.Tensor) -> torch.Tensor:
    """An alias that an operator cannot give other memory, valid as long as ``tensor``.

    An operator that resizes its result would free the memory under every other npu tensor that shares it.
    """
    storage = tensor.untyped_storage()
    borrowed = _borrow(storage.data_ptr(), CPU, storage.nbytes())
    return torch.empty(0, dtype=tensor.dtype, device=CPU).set_(
        borrowed, tensor.storage_offset(), tensor.size(), tensor.stride()
    )


def adopt(tensor: torch.Tensor) -> torch.Tensor:
    """The npu tensor over the memory of a CPU tensor."""
    if tensor.layout is not torch.strided:
        raise NotImplementedError(
            f"the emulated npu device holds strided tensors only, not {tensor.layout}. Convert with .to_dense() first."
        )
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return become(torch._C._acc.create_empty_tensor((0,), tensor.dtype), tensor)


def become(tensor: torch.Tensor, host: torch.Tensor) -> torch.Tensor:
    """Make an existing npu tensor the npu name of ``host``."""
    memory = host.untyped_storage()
    own = tensor.untyped_storage()
    # The same memory keeps its storage: other views of the tensor share it, and it owns the memory.
    storage = own if own.data_ptr() == memory.data_ptr() and own.nbytes() else lend(memory, host)
    _set_storage(CPU_KEYS, tensor, storage, host.storage_offset(), host.size(), host.stride())
    return tensor


def same_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Another npu tensor over the memory of one, which keeps its sizes whatever is done to that one's."""
    if tensor.is_conj() or tensor.is_neg():
        return tensor
    other: torch.Tensor = torch._C._acc.create_empty_tensor((0,), tensor.dtype)
    storage = tensor.untyped_storage()
    _set_storage(CPU_KEYS, other, storage, tensor.storage_offset(), tensor.size(), tensor.stride())
    return other


def lend(memory: torch.UntypedStorage, host: torch.Tensor) -> torch.UntypedStorage:
    """The npu storage over all of ``memory``, which belongs to the CPU tensor ``host``."""
    size = memory.nbytes()
    storage = _borrow(memory.data_ptr(), NPU, size)
    storage._npu_block = _Block(host.detach() if host.requires_grad else host, size)
    return storage


def new_storage(size: int) -> torch.UntypedStorage:
    """A fresh npu storage of ``size`` bytes."""
    host = torch.empty(size, dtype=torch.uint8, device=CPU)
    return lend(host.untyped_storage(), host)


def host_tensor(storage: torch.UntypedStorage) -> torch.Tensor:
    """A CPU tensor over the memory that an npu storage borrows."""
    block: Any = getattr(storage, "_npu_block", None)
    if block is not None:
        host: torch.Tensor = block.host
        return host
    # torch itself lays such a storage over memory of the device for a moment, as when it pickles a tensor.
    borrowed = _borrow(storage.data_ptr(), CPU, storage.nbytes())
    return torch.empty(0, dtype=torch.uint8, device=CPU).set_(borrowed)


FORMAT = "_npu_format"
"""The attribute of a storage that remembers the format which its memory was cast to."""


def keep_format(source: torch.Tensor, copy: torch.Tensor) -> None:
    """Give a copy the format of its source, where that was cast to one and is copied whole."""
    recorded = getattr(source.untyped_storage(), FORMAT, None)
    if recorded is not None and source.is_contiguous():
        setattr(copy.untyped_storage(), FORMAT, recorded)


def require_this_device(device: torch.device) -> None:
    """Refuse a device that does not exist: there is one."""
    if device.index not in (None, 0):
        raise RuntimeError(f"invalid device {device}: the emulated npu has one device, npu:0")


def memory_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The CPU storage in which the values of a CPU or npu tensor lie: the same for both names of one memory."""
    storage = tensor.untyped_storage()
    block = getattr(storage, "_npu_block", None)
    return storage if block is None else block.host.untyped_storage()


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in an argument or result."""
    return list(_walk(value))


def _walk(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _walk(item)
