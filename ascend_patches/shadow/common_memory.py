"""Which tensors and arrays of a call share memory, so that what is written through one is read through the other.

Their copies share memory in the same way. Where that cannot be had, the call cannot be run twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

from ascend_patches.shadow.kinds import attributes_of, entries_of, is_array, is_tensor


class _Extent(NamedTuple):
    """The addresses that one tensor or array covers, of one device."""

    device: str
    start: int
    end: int
    value: Any


class Shared(NamedTuple):
    """Memory that several tensors of a call cover: the first of them, and where in its storage it begins and ends."""

    example: Any
    first: int
    size: int

    def clone(self) -> Any:
        """A copy of it, as one row."""
        return self.example.detach().as_strided((self.size,), (1,), self.first).clone()

    def view(self, value: Any, row: Any) -> Any:
        """The part of the copy that stands for one tensor."""
        return row.as_strided(value.shape, value.stride(), value.storage_offset() - self.first)

    @property
    def bytes(self) -> int:
        return int(self.size * self.example.element_size())


def shared_memory(values: Iterable[Any]) -> tuple[dict[int, Shared], list[Any]]:
    """By identity, the tensors that share memory; and those that do so in a way that no copies can."""
    extents = sorted((each for value in values for each in _extents(value)), key=lambda each: each[:3])
    shared: dict[int, Shared] = {}
    lost: list[Any] = []
    for group in _groups(extents):
        if len(group) < 2:
            continue
        found = _as_one(group)
        if found is None:
            lost += [each.value for each in group]
        else:
            shared.update({id(each.value): found for each in group})
    return shared, lost


def leaves(root: Any, most: int) -> list[Any]:
    """The tensors and arrays that can be reached from a value, each once."""
    found: list[Any] = []
    seen: dict[int, Any] = {}
    ahead = [root]
    while ahead and len(seen) < most:
        value = ahead.pop()
        if id(value) in seen or isinstance(value, _PLAIN) or type(value).__name__.endswith("Config"):
            continue
        seen[id(value)] = value
        if is_tensor(value) or is_array(value):
            found.append(value)
            continue
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            ahead += entries_of(value)
        ahead += (attributes_of(value) or {}).values()
    return found


_PLAIN = (type, FunctionType, BuiltinFunctionType, ModuleType, str, bytes, int, float, type(None))


def _extents(value: Any) -> Iterator[_Extent]:
    try:
        if is_array(value):
            low = value.__array_interface__["data"][0]
            steps = [(size - 1) * stride for size, stride in zip(value.shape, value.strides, strict=True)]
            start = low + sum(step for step in steps if step < 0)
            end = low + sum(step for step in steps if step > 0) + value.itemsize
            device = "cpu"
        else:
            storage, size = value.untyped_storage().data_ptr(), int(value.element_size())
            device = "cpu" if value.device.type == "cpu" else f"{value.device} {storage}"
            last = sum((length - 1) * step for length, step in zip(value.shape, value.stride(), strict=True))
            start = storage + value.storage_offset() * size
            end = start + (last + 1) * size
    except Exception:  # a tensor without memory of its own
        return
    if 0 not in value.shape and end > start:
        yield _Extent(device, start, end, value)


def _groups(extents: list[_Extent]) -> Iterator[list[_Extent]]:
    """Extents that overlap each other, directly or by way of others."""
    group: list[_Extent] = []
    end = 0
    for extent in extents:
        if group and (extent.device != group[0].device or extent.start >= end):
            yield group
            group = []
        end = max(end, extent.end) if group else extent.end
        group.append(extent)
    if group:
        yield group


def _as_one(group: list[_Extent]) -> Shared | None:
    """The memory of a group of tensors; None where it holds arrays, or tensors of several types."""
    first = group[0].value
    if any(not is_tensor(each.value) or each.value.dtype != first.dtype for each in group):
        return None
    size = (max(each.end for each in group) - group[0].start) // first.element_size()
    return Shared(first, first.storage_offset(), int(size))
