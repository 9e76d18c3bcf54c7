"""The pixels that an encoder is given, as its first layer takes them."""

from __future__ import annotations

from typing import Any

import torch


def as_the_model_takes(model: Any, x: torch.Tensor) -> torch.Tensor:
    """On the model's device and in its type; some releases have encoders that normalize pixels themselves."""
    norm = getattr(model, "input_norm", None)
    if norm is None:
        return x.to(device=model.device, dtype=model.dtype)
    normed: torch.Tensor = norm(x.to(device=model.device), model.dtype)
    return normed
