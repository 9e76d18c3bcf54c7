"""The kernels that move values between the host and the npu device, or hand out device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from . import _accounting, _pinned, _streams
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
    elif pin_memory:
        _pinned.mark(target)
    _transfer("aten::_to_copy", source, target, non_blocking)
    return target


def _local_scalar_dense(tensor: torch.Tensor) -> Any:
    _streams.refuse_while_capturing(_accounting.ITEM)
    if reported():
        _accounting.dispatched("aten::_local_scalar_dense")
        _accounting.copied_to_host(tensor, _accounting.ITEM)
        _accounting.waited(_accounting.ITEM)
        _streams.note("aten::_local_scalar_dense", [tensor], [], host_waits=True)
    return alias(tensor).item()


def _transfer(name: str, source: torch.Tensor, target: torch.Tensor, non_blocking: bool) -> None:
    from_npu, to_npu = is_npu(source), is_npu(target)
    blocks = from_npu and not to_npu and not non_blocking
    if blocks:
        _streams.refuse_while_capturing("a blocking copy to the host")
    (alias(target) if to_npu else target).copy_(alias(source) if from_npu else source)
    if not reported():
        return
    _accounting.dispatched(name)
    if from_npu and not to_npu:
        _accounting.copied_to_host(source, name, non_blocking=non_blocking)
    elif to_npu and not from_npu:
        _accounting.copied_to_device(source, name, non_blocking=non_blocking)
    _streams.note(name, [source], [target], **({"host_waits": True} if blocks else {}))


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
        _accounting.dispatched(name)


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
    "copy_": _copy_,
    "_copy_from": _copy_from,
    "_to_copy": _to_copy,
    "_local_scalar_dense": _local_scalar_dense,
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "resize_": _resize_,
    "set_.source_Tensor": _set_tensor,
    "record_stream": _record_stream,
    "is_pinned": lambda tensor, device=None: False,
    "_pin_memory": _pinned.refuse_to_pin,
}
"""The aten kernels of this module, by operator name without the namespace."""
