"""Autocast on the npu device: which operators compute in the lower precision, which in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ._kernels import operator

_LOWER_PRECISION = (
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "conv_transpose1d",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    "matmul",
    "mm",
    "mv",
    "bmm",
    "addmm",
    "addmv",
    "addr",
    "addbmm",
    "baddbmm",
    "linear",
    "prelu",
    "chain_matmul",
    "linalg_multi_dot",
    "scaled_dot_product_attention",
)
_FLOAT32 = (
    "acos",
    "asin",
    "cosh",
    "erfinv",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "sinh",
    "tan",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "softplus",
    "layer_norm",
    "group_norm",
    "norm.Scalar",
    "norm.ScalarOpt_dim",
    "nll_loss",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "mse_loss",
    "huber_loss",
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "cdist",
    "logsumexp",
    "softmax.int",
    "log_softmax.int",
    "cumsum",
    "cumprod",
    "sum",
    "sum.dim_IntList",
    "prod",
    "prod.dim_int",
)
_LOW = (torch.float16, torch.bfloat16)
_AUTOCAST_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)


def autocast_kernels() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The autocast kernels, by operator name without the namespace."""
    for name in _LOWER_PRECISION:
        yield name, _casting(operator(name), _to_lower_precision)
    for name in _FLOAT32:
        yield name, _casting(operator(name), _to_float32)


def _casting(op: Any, cast: Callable[[Any], Any]) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST_KEYS):
            return op(*_each(cast, args), **{key: _each(cast, value) for key, value in kwargs.items()})

    return kernel


def _each(cast: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_each(cast, item) for item in value]
    return cast(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _to_lower_precision(tensor: torch.Tensor) -> torch.Tensor:
    # float64 is left alone by every device's autocast.
    return tensor if tensor.dtype is torch.float64 else tensor.to(torch.get_autocast_dtype("npu"))


def _to_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32) if tensor.dtype in _LOW else tensor
