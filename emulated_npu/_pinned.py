"""Pinned host memory: ordinary memory with a mark on it, because the emulated device does not care."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._device

_FACTORIES = (
    "empty",
    "zeros",
    "ones",
    "full",
    "tensor",
    "arange",
    "rand",
    "randn",
    "randint",
    "randperm",
    "linspace",
    "eye",
    "empty_strided",
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
    "rand_like",
    "randn_like",
)
"""The functions of ``torch`` that take ``pin_memory=True``."""
_METHODS = ("new_empty", "new_zeros", "new_ones", "new_full", "new_tensor")
"""The methods of a tensor that do."""


def is_pinned(tensor: torch.Tensor, device: Any = None) -> bool:
    return hasattr(tensor.untyped_storage(), "_npu_pinned")


def pin(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    return mark(torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu").copy_(tensor))


def refuse_to_pin(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    raise RuntimeError(f"cannot pin a tensor on {tensor.device}: only dense CPU tensors can be pinned")


def install_factories() -> None:
    """Let torch's factory functions take ``pin_memory=True``, for which torch asks a device written in C++."""
    # `with torch.device(...)` keeps a table of the factories themselves; it has to be filled with the true ones.
    torch.utils._device._device_constructors()
    for name in _FACTORIES:
        setattr(torch, name, _pinning(getattr(torch, name)))
    for name in _METHODS:
        setattr(torch.Tensor, name, _pinning(getattr(torch.Tensor, name)))


def _pinning(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def wrapper(*args: Any, **kwargs: Any) -> torch.Tensor:
        if not kwargs.pop("pin_memory", False):
            return factory(*args, **kwargs)
        tensor = factory(*args, **kwargs)
        if not tensor.is_cpu:
            raise RuntimeError("Only dense CPU tensors can be pinned")
        return mark(tensor)

    return wrapper


def mark(tensor: torch.Tensor) -> torch.Tensor:
    """Mark host memory as pinned."""
    tensor.untyped_storage()._npu_pinned = True
    return tensor
