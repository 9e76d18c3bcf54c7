"""The kernels that move values between the host and the npu device, or hand out device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from . import _accounting, _contiguous, _pinned, _streams
from ._graphs import recorded
from ._kernels import Kernel, reported
from ._memory import CPU, NPU, adopt, alias, is_npu, lend, memory_of, require_this_device


def _copy_(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _transfer("aten::copy_", source, target, non_blocking)
    return target


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _transfer("aten::_copy_from", source, target, non_blocking)
    return target


def _to_copy(
    source: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | None = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    # torch's own kernel asks for memory from a pinned allocator, written in C++, when the copy shall not block.
    like = alias(source) if is_npu(source) else source
    target = torch.empty_like(like, dtype=dtype, device=CPU, memory_format=memory_format or torch.preserve_format)
    if device is None or device.type == "npu":
        require_this_device(device or NPU)
        target = adopt(target)
    elif device.type != "cpu":
        return target.to(device)
    elif pin_memory or (non_blocking and is_npu(source)):
        # As torch_npu does (ToKernelNpu.cpp, pin_out): only into pinned memory the host need not wait.
        _pinned.mark(target)
    _transfer("aten::_to_copy", source, target, non_blocking)
    return target


def _local_scalar_dense(tensor: torch.Tensor) -> Any:
    _streams.refuse_while_capturing(_accounting.ITEM)
    if reported():
        _accounting.dispatched("aten::_local_scalar_dense", kernel=False)
        _accounting.copied_to_host(tensor, _accounting.ITEM)
        _streams.note("aten::_local_scalar_dense", [tensor], [], host_waits=True)
    return alias(tensor).item()


def _transfer(name: str, source: torch.Tensor, target: torch.Tensor, non_blocking: bool) -> None:
    from_npu, to_npu = is_npu(source), is_npu(target)
    if target.numel() == 0 and reported():
        # torch_npu's copy_ returns at once.
        _accounting.dispatched(name, kernel=False)
        return
    waits = from_npu != to_npu and not (non_blocking and _needs_no_wait(source, target))
    if waits and from_npu:
        _streams.refuse_while_capturing("a copy to the host that blocks")
    (alias(target) if to_npu else target).copy_(alias(source) if from_npu else source)
    if reported():
        _account(name, source, target, non_blocking=non_blocking, waits=waits)
        _streams.note(name, [source], [target], **({"host_waits": True} if waits else {}))


def _needs_no_wait(source: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether the host's side is pinned and can be copied as it lies.

    Where dtype, strides or sizes differ torch_npu copies by way of fresh, unpinned memory (CopyKernelOpApi.cpp), and
    for that it synchronises the stream (CachingHostAllocator.cpp, process_unregistered_mem_location_type).
    """
    on_host = target if is_npu(source) else source
    as_it_lies = on_host.is_contiguous() and source.dtype == target.dtype and source.shape == target.shape
    return as_it_lies and _pinned.is_pinned(on_host)


def _account(name: str, source: torch.Tensor, target: torch.Tensor, *, non_blocking: bool, waits: bool) -> None:
    if not _accounting.recording():
        return
    from_npu, to_npu = is_npu(source), is_npu(target)
    if from_npu and to_npu:
        _accounting.dispatched(name)
        wide = alias(source).expand(target.shape)
        _accounting.hidden(f"{name} source", _contiguous.steps_of_copy(wide, alias(target))[:-1])
        return
    _accounting.dispatched(name, kernel=False)
    if from_npu:
        _accounting.hidden(f"{name} source", _contiguous.kernels_for(source))
        pinned = _pinned.is_pinned(target)
        _accounting.copied_to_host(source, name, non_blocking=non_blocking, pinned=pinned, waits=waits)
        return
    pinned = _pinned.is_pinned(source)
    _accounting.copied_to_device(source, name, non_blocking=non_blocking, pinned=pinned, waits=waits)
    if not target.is_contiguous():
        _accounting.hidden(f"{name} target", ["ViewCopy"])


def _empty(
    size: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | None = None,
    pin_memory: bool | None = None,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    _allocates("aten::empty.memory_format", device, layout, pin_memory)
    return adopt(torch.empty(size, dtype=dtype, device=CPU, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(
    size: Sequence[int],
    stride: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | None = None,
    pin_memory: bool | None = None,
) -> torch.Tensor:
    _allocates("aten::empty_strided", device, layout, pin_memory)
    return adopt(torch.empty_strided(size, stride, dtype=dtype, device=CPU))


def _allocates(name: str, device: torch.device | None, layout: torch.layout | None, pin_memory: bool | None) -> None:
    require_this_device(device or NPU)
    if layout not in (None, torch.strided):
        raise NotImplementedError(f"the emulated npu device holds strided tensors only, not {layout}")
    if pin_memory:
        raise RuntimeError("Only dense CPU tensors can be pinned")
    if reported():
        _accounting.dispatched(name, kernel=False)


def _resize_(
    tensor: torch.Tensor, size: Sequence[int], *, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    storage = tensor.untyped_storage()
    needed = (tensor.storage_offset() + math.prod(size)) * tensor.element_size()
    if needed > storage.nbytes():
        grown = torch.empty(needed, dtype=torch.uint8, device=CPU)
        kept = torch.empty(0, dtype=torch.uint8, device=CPU).set_(memory_of(tensor))[: storage.nbytes()]
        grown[: kept.numel()].copy_(kept)
        storage = lend(grown.untyped_storage(), grown)
    stride = torch.empty(size, device="meta", memory_format=memory_format or torch.contiguous_format).stride()
    tensor.set_(storage, tensor.storage_offset(), size, stride)
    return tensor


def _set_tensor(tensor: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    tensor.set_(source.untyped_storage(), source.storage_offset(), source.size(), source.stride())
    return tensor


def _record_stream(tensor: torch.Tensor, stream: Any) -> None:
    # Not an input: the memory is kept for that stream, nothing on the stream reads it now.
    _streams.note("aten::record_stream", [], [], stream=stream.stream_id, tensor=_streams.identity(tensor))


KERNELS: dict[str, Kernel] = {
    "copy_": recorded(_copy_),
    "_copy_from": recorded(_copy_from),
    "_to_copy": recorded(_to_copy),
    "_local_scalar_dense": recorded(_local_scalar_dense),
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "resize_": _resize_,
    "set_.source_Tensor": _set_tensor,
    "record_stream": _record_stream,
    "is_pinned": lambda tensor, device=None: False,
    "_pin_memory": _pinned.refuse_to_pin,
}
"""The aten kernels of this module, by operator name without the namespace."""
