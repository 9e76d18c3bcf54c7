"""Activations: npu_swiglu, npu_fast_gelu."""

from __future__ import annotations

import torch

from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference


@reference("npu::npu_swiglu")
def swiglu(input: torch.Tensor, dim: int) -> torch.Tensor:
    checks = Checks("npu_swiglu")
    checks.dtype(FLOATING, input=input)
    checks.require(
        input.dim() > 0 and -input.dim() <= dim < input.dim(), f"dim {dim} is not one of {input.dim()} dimensions"
    )
    checks.require(input.shape[dim] % 2 == 0, f"input has size {input.shape[dim]} in dim {dim}; it must be even")
    gate, up = input.float().chunk(2, dim=dim)
    return (torch.nn.functional.silu(gate) * up).to(input.dtype)


@fake("npu::npu_swiglu")
def swiglu_shapes(input: torch.Tensor, dim: int) -> torch.Tensor:
    shape = list(input.shape)
    shape[dim] = shape[dim] // 2
    return input.new_empty(shape)


@reference("npu::npu_fast_gelu")
def fast_gelu(input: torch.Tensor) -> torch.Tensor:
    Checks("npu_fast_gelu").dtype(FLOATING, input=input)
    wide = input.float()
    return (wide * torch.sigmoid(1.702 * wide)).to(input.dtype)


@fake("npu::npu_fast_gelu")
def fast_gelu_shapes(input: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(input)
