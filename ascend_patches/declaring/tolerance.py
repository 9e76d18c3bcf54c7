"""How far results may be from each other, by dtype. Imports no torch: it works on the tensors it is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ascend_patches.basics.value import Value

_PARTS_OF_COMPLEX = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}


class Tolerance(Value):
    """The largest error that is rounding, by dtype, as a share of the largest magnitude of what is expected.

    What has another dtype, such as integers, has to be the same.
    """

    float32: float = 1e-5
    float16: float = 4e-3
    bfloat16: float = 3e-2
    float64: float = 1e-12

    def of(self, dtype: object) -> float:
        """The share for a dtype of torch; of a complex one, that of its parts."""
        name = str(dtype).removeprefix("torch.")
        return float(getattr(self, _PARTS_OF_COMPLEX.get(name, name), 0.0))

    def close(self, original: Any, patched: Any) -> str | None:
        """What is different beyond rounding, in words; None if nothing is. Containers are compared part by part."""
        for where, expected, found in _pairs(original, patched, ""):
            difference = self._difference(expected, found)
            if difference:
                return f"{where}: {difference}" if where else difference
        return None

    def _difference(self, expected: Any, found: Any) -> str:
        if not _is_tensor(expected) or not _is_tensor(found):
            same = type(expected) is type(found) and (_is_opaque(expected) or _is_equal(expected, found))
            return "" if same else f"{_shown(found)} instead of {_shown(expected)}"
        for what in ("shape", "dtype"):
            if getattr(expected, what) != getattr(found, what):
                return f"{what} {getattr(found, what)} instead of {getattr(expected, what)}"
        error, allowed = error_of(expected, found), self.of(expected.dtype)
        return "" if error <= allowed else f"off by {error:.3g} of the largest value, where {allowed:.3g} is rounding"


def error_of(expected: Any, found: Any) -> float:
    """The largest difference of two tensors of one size, as a share of the largest magnitude expected.

    Infinite where one has a number and the other has none.
    """
    if expected.numel() == 0:
        return 0.0
    expected, found = (_numbers(tensor) for tensor in (expected, found))
    if not expected.is_floating_point():
        same = bool((expected == found).all())
        expected, found = expected.double(), found.double()
        if not same and bool((expected == found).all()):  # apart by less than a double can say of numbers so large
            return math.inf
    expected, found = expected.double(), found.double()
    finite = expected.isfinite()
    unlike = (expected != found) & ~(expected.isnan() & found.isnan())
    if bool((unlike & ~(finite & found.isfinite())).any()):
        return math.inf
    if not bool(finite.any()):
        return 0.0
    largest = float(expected[finite].abs().max())
    difference = float((expected[finite] - found[finite]).abs().max())
    return difference / largest if largest else difference


def _numbers(tensor: Any) -> Any:
    """Its numbers in a row, on the host; of a complex one the real and the imaginary parts."""
    flat = tensor.detach().cpu().flatten()
    return flat.resolve_conj().contiguous().view(flat.real.dtype) if flat.is_complex() else flat


def _pairs(expected: Any, found: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two results side by side; what is not built alike is a pair of its own."""
    parts, others = _parts(expected), _parts(found)
    if parts is None or others is None or type(expected) is not type(found) or parts.keys() != others.keys():
        yield where, expected, found
        return
    for key, value in parts.items():
        yield from _pairs(value, others[key], f"{where}[{key!r}]")


def _parts(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if hasattr(type(value), "__dataclass_fields__"):
        # Here, because every process that reads declarations would pay for the import.
        from dataclasses import fields

        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    return None


def _is_tensor(value: object) -> bool:
    return hasattr(value, "isfinite") and hasattr(value, "dtype")


def _is_opaque(value: object) -> bool:
    """Whether it is an object that says nothing about its value."""
    return type(value).__eq__ is object.__eq__


def _is_equal(one: Any, other: Any) -> bool:
    """Arrays of numpy included, which compare element by element, if they can be compared at all."""
    if getattr(one, "shape", None) != getattr(other, "shape", None):
        return False
    equal = one == other
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)


def _shown(value: Any) -> str:
    if _is_tensor(value):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
