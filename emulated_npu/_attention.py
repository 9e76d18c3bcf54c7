"""``scaled_dot_product_attention`` on the npu device: one operator, as on a real one."""

from __future__ import annotations

from typing import Any

import torch

from ._graphs import recorded
from ._kernels import compute_kernel, drawing_kernel, operator

_ATTENTION = operator("scaled_dot_product_attention")

_computed = compute_kernel(_ATTENTION)
_attend = recorded(_computed)
_attend_and_drop = recorded(drawing_kernel(_computed))


def fused(*args: Any, **kwargs: Any) -> Any:
    """The attention below autograd: one operator."""
    dropout = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
    return (_attend_and_drop if dropout else _attend)(*args, **kwargs)


def differentiable(*args: Any, **kwargs: Any) -> Any:
    """The attention under autograd: built of differentiable operators where a gradient is asked for."""
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _ATTENTION.decompose(*args, **kwargs)
    with torch._C._AutoDispatchBelowAutograd():
        return _ATTENTION(*args, **kwargs)
