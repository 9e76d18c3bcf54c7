"""Prefetch of projection weights into the cache of the NPU, as MLA decode asks for it before it needs them."""

from __future__ import annotations

import torch
import torch_npu

LARGEST_OUTPUT_PROJECTION = 16 * 1024 * 1024
"""What is fetched of o_proj at most, in bytes: more would push out of the cache what the step still needs."""


def prefetch(weight: torch.Tensor, dependency: torch.Tensor, at_most: int | None = None) -> None:
    """Start fetching ``weight``; a compiled graph does not start before ``dependency`` is there."""
    size = weight.numel() * weight.element_size()
    # A rank that keeps no part of a weight has an empty one, which the op refuses.
    if size:
        torch_npu.npu_prefetch(weight, dependency, size if at_most is None else min(size, at_most))
