"""A layer with the methods that the replacements of the patch rotary-embedding count on, and what it should compute."""

from __future__ import annotations

import torch


class Layer:
    """Turns channels in plain torch; prepares batches, and types where it computes in float32."""

    def __init__(self, *, neox: bool = True, in_float32: bool = False) -> None:
        self.is_neox_style = neox
        self.enable_fp32_compute = in_float32
        self.in_plain_torch = 0

    def forward_static(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, neox: bool = True, in_float32: bool = False
    ) -> torch.Tensor:
        self.in_plain_torch += 1
        dtype = torch.float32 if in_float32 else x.dtype
        return turned(x.to(dtype), cos.to(dtype), sin.to(dtype), neox=neox).to(x.dtype)

    def _pre_process(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Size, torch.dtype]:
        batched = x.unsqueeze(0) if x.dim() == 3 else x
        if self.enable_fp32_compute:
            return batched.float(), cos.float(), sin.float(), x.shape, x.dtype
        return batched, cos, sin, x.shape, x.dtype

    def _post_process(self, output: torch.Tensor, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        return (output.squeeze(0) if len(shape) == 3 else output).to(dtype)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, neox: bool) -> torch.Tensor:
    """The rotation of pairs of channels, of as many as cos and sin have values for."""
    width = 2 * cos.shape[-1]
    first, second = x[..., :width].unflatten(-1, (2, -1) if neox else (-1, 2)).unbind(-2 if neox else -1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    pairs = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-2 if neox else -1)
    return torch.cat((pairs.flatten(-2), x[..., width:]), dim=-1)
