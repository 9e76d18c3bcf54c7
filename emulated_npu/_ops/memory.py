"""Memory: npu_prefetch, npu_format_cast and what remembers a tensor's format."""

from __future__ import annotations

from typing import Any

import torch

from emulated_npu._memory import FORMAT
from emulated_npu._refusals import Checks

from ._reference import fake, reference

NCHW, ND, NCDHW, FRACTAL_NZ = 0, 2, 30, 29
KNOWN_FORMATS = {NCHW, 1, ND, 3, 4, 27, FRACTAL_NZ, NCDHW, 32, 33, 34}
_BY_DIMENSIONS = {4: NCHW, 5: NCDHW}


def format_of(tensor: torch.Tensor) -> int:
    """The format that was cast to the tensor's memory, or the one that a fresh tensor of its shape has."""
    # What an op is computed of has it on the tensor: its storage is the host's.
    recorded: int | None = getattr(tensor, FORMAT, getattr(tensor.untyped_storage(), FORMAT, None))
    return _BY_DIMENSIONS.get(tensor.dim(), ND) if recorded is None else recorded


def _remember(tensor: torch.Tensor, acl_format: int) -> None:
    # On the storage: views share the format, and it goes when the memory goes.
    setattr(tensor.untyped_storage(), FORMAT, acl_format)


@reference("npu::get_npu_format", aliased=False, kernel=False)
def get_npu_format(input: torch.Tensor) -> int:
    return format_of(input)


def _check_format(op: str, acl_format: int) -> None:
    Checks(op).require(acl_format in KNOWN_FORMATS, f"acl_format {acl_format} is not a format of the device")


@reference("npu::npu_prefetch", kernel=False)
def prefetch(input: torch.Tensor, dependency: torch.Tensor | None, max_size: int, offset: int) -> None:
    checks = Checks("npu_prefetch")
    checks.require(max_size > 0, f"max_size should be greater than zero, but got {max_size}")
    checks.require(offset >= 0, f"offset should not be smaller than zero, but got {offset}")
    size = input.numel() * input.element_size()
    checks.require(size > offset, f"offset out of range of tensor size, tensor size: {size}, offset: {offset}")


@fake("npu::npu_prefetch", side_effect=True)
def prefetch_shapes(input: torch.Tensor, dependency: torch.Tensor | None, max_size: int, offset: int) -> None:
    checks = Checks("npu_prefetch")
    checks.require(max_size > 0, f"The max_size should be greater than zero, but got {max_size}.")
    checks.require(offset >= 0, f"The offset should be nonnegative, but got {offset}.")


def _record_number(result: torch.Tensor, acl_format: int, **_: Any) -> None:
    _remember(result, acl_format)


def _record_of_dst(result: torch.Tensor, dst: torch.Tensor, **_: Any) -> None:
    _remember(result, format_of(dst))


def _record_of_src(result: torch.Tensor, src: torch.Tensor, **_: Any) -> None:
    _remember(result, format_of(src))


@reference("npu::npu_format_cast", after=_record_number)
def format_cast(
    input: torch.Tensor, acl_format: int, customize_dtype: int | None = None, input_dtype: int | None = None
) -> torch.Tensor:
    _check_format("npu_format_cast", acl_format)
    _check_custom("npu_format_cast", customize_dtype, input_dtype)
    return input.clone()


@reference("npu::npu_format_cast.Tensor", after=_record_of_dst)
def format_cast_as(
    input: torch.Tensor, dst: torch.Tensor, customize_dtype: int | None = None, input_dtype: int | None = None
) -> torch.Tensor:
    _check_custom("npu_format_cast", customize_dtype, input_dtype)
    return input.clone()


@reference("npu::npu_format_cast_.acl_format", after=_record_number)
def format_cast_in_place(
    input: torch.Tensor, acl_format: int, customize_dtype: int | None = None, input_dtype: int | None = None
) -> torch.Tensor:
    _check_format("npu_format_cast_", acl_format)
    _check_custom("npu_format_cast_", customize_dtype, input_dtype)
    return input


@reference("npu::npu_format_cast_", after=_record_of_src)
def format_cast_in_place_as(
    input: torch.Tensor, src: torch.Tensor, customize_dtype: int | None = None, input_dtype: int | None = None
) -> torch.Tensor:
    _check_custom("npu_format_cast_", customize_dtype, input_dtype)
    return input


def _check_custom(op: str, customize_dtype: int | None, input_dtype: int | None) -> None:
    Checks(op).emulated(customize_dtype is None and input_dtype is None, "a custom dtype", "memory.py")
