"""The layouts in which attention ops take and give tensors, seen as one: [batch, sequence, heads, size]."""

from __future__ import annotations

import torch


def to_bsnd(tensor: torch.Tensor, heads: int, layout: str) -> torch.Tensor:
    """A view of ``tensor`` as [batch, sequence, heads, size]; TND is one batch."""
    if layout == "SBH":
        tensor = tensor.transpose(0, 1)
    if layout in ("BSH", "SBH"):
        return tensor.unflatten(2, (heads, tensor.shape[2] // heads))
    if layout == "BNSD":
        return tensor.transpose(1, 2)
    if layout == "NBSD":
        return tensor.permute(1, 2, 0, 3)
    if layout == "TND":
        return tensor.unsqueeze(0)
    if layout in ("NTD", "NSD"):
        return tensor.transpose(0, 1).unsqueeze(0)
    return tensor
