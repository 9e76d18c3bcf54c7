"""The hidden copies of strided arguments: which kernels a real NPU runs to make a tensor contiguous.

Kernels take contiguous memory, so an operator copies a strided argument before its own kernel, unseen by the caller.
The rules are those of CANN's `l0op::Contiguous` (contiguous.cpp of its op_api): one or two of Slice, StridedSlice,
Transpose and BroadcastTo where the strides can be had that way, AsStrided otherwise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

_ALIGNED = 64
"""AsStrided is preferred to Slice and Transpose where the last dimension is a multiple of this."""


class _Dim(NamedTuple):
    stride: int
    position: int
    size: int


def kernels_for(tensor: torch.Tensor) -> tuple[str, ...]:
    """The kernels that copy ``tensor`` into contiguous memory; none if it is contiguous."""
    if tensor.numel() == 0 or tensor.is_contiguous():
        return ()
    broadcast = 0 in tensor.stride()
    written = [
        _Dim(stride, position, size)
        for position, (stride, size) in enumerate(zip(tensor.stride(), tensor.shape, strict=True))
        if stride != 0 and size != 1
    ]
    last = _broadcast(tensor) if broadcast else ()
    if broadcast and _is_contiguous(written):
        return last
    by_stride = sorted(written, reverse=True)
    transposed = [dim.stride for dim in written] != [dim.stride for dim in by_stride]
    if transposed and _is_contiguous(by_stride):
        return ("Transpose", *last)
    first = _slice(tensor, by_stride, transposed=transposed)
    if first is None:
        return ("AsStrided",)
    return (first, *(("Transpose",) if transposed else ()), *last)


def is_transposed_matrix(tensor: torch.Tensor) -> bool:
    """Whether exchanging its last two dimensions makes ``tensor`` contiguous."""
    *outer, rows, columns = tensor.shape
    *outer_strides, row, column = tensor.stride()
    expected = rows * columns
    for size, stride in zip(reversed(outer), reversed(outer_strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return bool((rows == 1 or row == 1) and (columns == 1 or column == rows))


def steps_of_copy(source: torch.Tensor, target: torch.Tensor) -> list[str]:
    """The kernels of a copy on the device; both tensors have the same sizes.

    The source is made contiguous and cast. The last step writes into a contiguous target itself (`l0op::ViewCopy`), so
    only a copy without steps, or into a strided target, has a step of its own.
    """
    steps = [*kernels_for(source), *(["Cast"] if source.dtype != target.dtype else [])]
    return [*steps, "ViewCopy"] if not target.is_contiguous() or not steps else steps


def _broadcast(tensor: torch.Tensor) -> tuple[str, ...]:
    return ("Cast", "BroadcastTo", "Cast") if tensor.dtype is torch.bool else ("BroadcastTo",)


def _is_contiguous(dims: list[_Dim]) -> bool:
    expected = 1
    for dim in reversed(dims):
        if dim.stride != expected:
            return False
        expected *= dim.size
    return True


def _slice(tensor: torch.Tensor, dims: list[_Dim], *, transposed: bool) -> str | None:
    """The kernel that cuts the dimensions, sorted by stride, out of the memory; None if neither kernel can."""
    strides, sizes = [dim.stride for dim in dims], [dim.size for dim in dims]
    if len(dims) == 1:
        # [10] with stride 2 is a column of [10, 2].
        strides, sizes = [*strides, 1], [*sizes, 1]
    pairs = list(zip(strides, strides[1:], sizes[1:], strict=False))
    if not strides or any(outer < inner * (size - 1) for outer, inner, size in pairs):
        return None  # overlapping, or nothing but one element
    elements = tensor.untyped_storage().nbytes() // tensor.element_size()
    if strides[-1] == 1 and all(outer % inner == 0 for outer, inner, _ in pairs):
        shape = [outer // inner for outer, inner, _ in pairs]
        shape.insert(0, elements // max(math.prod(shape), 1))
        aligned = tensor.stride(-1) == 1 and tensor.shape[-1] % _ALIGNED == 0
        if not _lies_within(shape, strides, sizes, tensor.storage_offset()) or (transposed and aligned):
            return None
        return "Slice"
    return _strided_slice(strides, sizes, elements, tensor.storage_offset())


def _strided_slice(strides: list[int], sizes: list[int], elements: int, offset: int) -> str | None:
    row = math.gcd(*strides[:-1]) if len(strides) > 1 else strides[0]
    if row <= 1 or row < strides[-1] * sizes[-1]:
        return None
    units = [1]
    shape = [row]
    for outer in reversed(strides[:-2]):
        units.insert(0, math.prod(shape))
        shape.insert(0, outer // units[0])
    units.insert(0, math.prod(shape))
    shape.insert(0, elements // units[0])
    for stride, size, unit, room in zip(strides, sizes, units, shape, strict=True):
        if stride % unit:
            return None
        begin, offset = offset // unit, offset % unit
        if begin + (size - 1) * (stride // unit) >= room:
            return None
    return "StridedSlice"


def _lies_within(shape: list[int], strides: list[int], sizes: list[int], offset: int) -> bool:
    for room, stride, size in zip(shape, strides, sizes, strict=True):
        begin, offset = offset // stride, offset % stride
        if room < begin + size:
            return False
    return True
