"""Numbers for weights and inputs that are the same in every process."""

from __future__ import annotations

import torch


def random(name: str, *shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Numbers that depend on a name, on the host."""
    seed = sum(map(ord, name))
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
