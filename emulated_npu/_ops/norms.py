"""RMS norms: npu_rms_norm, npu_add_rms_norm."""

from __future__ import annotations

import torch

from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference


def rms_norm(x: torch.Tensor, gamma: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``x`` normalised over gamma's dimensions, and 1 / rms, both in float32."""
    over = tuple(range(x.dim() - gamma.dim(), x.dim()))
    wide = x.float()
    rstd = torch.rsqrt(wide.square().mean(dim=over, keepdim=True) + epsilon)
    return wide * rstd * gamma.float(), rstd


def _check(checks: Checks, x: torch.Tensor, gamma: torch.Tensor) -> None:
    checks.dtype(FLOATING, input=x, gamma=gamma)
    # Documented pairs: gamma has the input's dtype, or is float32.
    if gamma.dtype != torch.float32:
        checks.same_dtype(input=x, gamma=gamma)
    checks.require(
        0 < gamma.dim() <= x.dim() and list(x.shape[x.dim() - gamma.dim() :]) == list(gamma.shape),
        f"gamma {list(gamma.shape)} is not the last dimensions of the input {list(x.shape)}",
    )


@reference("npu::npu_rms_norm")
def npu_rms_norm(input: torch.Tensor, gamma: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    _check(Checks("npu_rms_norm"), input, gamma)
    normed, rstd = rms_norm(input, gamma, epsilon)
    return normed.to(input.dtype), rstd


@reference("npu::npu_add_rms_norm")
def npu_add_rms_norm(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    checks = Checks("npu_add_rms_norm")
    checks.same_dtype(x1=x1, x2=x2)
    checks.shape(x1.shape, x2=x2)
    _check(checks, x1, gamma)
    added = x1.float() + x2.float()
    normed, rstd = rms_norm(added, gamma, epsilon)
    return normed.to(x1.dtype), rstd, added.to(x1.dtype)


def _rstd_like(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    kept = x.dim() - gamma.dim()
    return x.new_empty([*x.shape[:kept], *[1] * gamma.dim()], dtype=torch.float32)


@fake("npu::npu_rms_norm")
def npu_rms_norm_shapes(input: torch.Tensor, gamma: torch.Tensor, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(input), _rstd_like(input, gamma)


@fake("npu::npu_add_rms_norm")
def npu_add_rms_norm_shapes(
    x1: torch.Tensor, gamma: torch.Tensor, **_: object
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(x1), _rstd_like(x1, gamma), torch.empty_like(x1)
