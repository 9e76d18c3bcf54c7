"""Whole encoders in float64 on the host: the model as the release defines it, its layers computed in plain torch.

To be called while nothing is patched. What has a kernel of its own on some device (attention, rotation, norms) is
computed here, so that neither a release nor a patch is its own judge; linear layers and the rest are torch's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional

from ascend_patches.checks.encoders import EVERY_ENCODER, Grids


def exact(title: str, layers: int, grids: Grids, dtype: torch.dtype) -> torch.Tensor:
    """The output of ``EVERY_ENCODER[title]``, from the weights and pixels that it has in this type."""
    encoder = EVERY_ENCODER[title]
    model = widened(encoder.made(layers, dtype, as_on_an_npu=False))
    pixels = encoder.pixels(grids, dtype).to("cpu", torch.float64)
    with torch.inference_mode():
        return encoder.forward(model, pixels, grids)


def widened(model: Any) -> Any:
    """A copy of the model in float64 on the host, whose layers are no longer those of a release."""
    # A copy, because models of one process share what releases keep, such as tables of cos and sin.
    model = copied(model).to("cpu", torch.float64)
    for layer in model.modules():
        for kind, computed in _LAYERS.items():
            if kind in {base.__name__ for base in type(layer).__mro__}:
                layer.forward = partial(computed, layer)
    return model


def copied(model: Any) -> Any:
    """A copy of a model, with parameters of the classes that it has: vLLM's cannot be made as torch copies its own."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = torch.Tensor._make_subclass(type(parameter), parameter.data.clone(), False)
    return copy.deepcopy(model, memo)


def attention(
    layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: Any = None, *_: Any, **__: Any
) -> torch.Tensor:
    """[batch, tokens, heads * size], also of no batch, or [batch, tokens, heads, size]; sequences lie end to end."""
    batched = query.unsqueeze(0) if query.dim() == 2 else query
    heads = batched.unflatten(-1, (-1, layer.head_size)) if batched.dim() == 3 else batched
    keys, values = (
        each.reshape(1, -1, layer.num_kv_heads, layer.head_size).repeat_interleave(
            layer.num_heads // layer.num_kv_heads, dim=2
        )
        for each in (key, value)
    )
    packed = heads.reshape(1, -1, *heads.shape[2:])
    ends = range(0, packed.shape[1] + 1, batched.shape[1]) if cu_seqlens is None else cu_seqlens.tolist()
    parts = [_attend(packed[0, begin:end], keys[0, begin:end], values[0, begin:end]) for begin, end in pairwise(ends)]
    return torch.cat(parts).reshape(query.shape)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One sequence, [tokens, heads, size]."""
    query, key, value = (each.transpose(0, 1) for each in (query, key, value))
    weights = torch.softmax(query @ key.transpose(1, 2) / query.shape[-1] ** 0.5, dim=-1)
    return (weights @ value).transpose(0, 1)


def rotation(layer: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """[..., tokens, heads, size]: pairs of channels, neighbours or of two halves, turned by angles of their token."""
    width = 2 * cos.shape[-1]
    cos, sin = (each.to(x.dtype).reshape(-1, 1, width // 2) for each in (cos, sin))
    turning, rest = x[..., :width], x[..., width:]
    if layer.is_neox_style:
        one, other = turning.chunk(2, dim=-1)
        turned = torch.cat((one * cos - other * sin, other * cos + one * sin), dim=-1)
    else:
        one, other = turning[..., ::2], turning[..., 1::2]
        turned = torch.stack((one * cos - other * sin, other * cos + one * sin), dim=-1).flatten(-2)
    return torch.cat((turned, rest), dim=-1)


def root_mean_square(layer: Any, x: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
    """With a residual, that is added first and given back as well."""
    total = x if residual is None else x + residual
    normed = total * torch.rsqrt(total.square().mean(dim=-1, keepdim=True) + layer.variance_epsilon) * layer.weight
    return normed if residual is None else (normed, total)


def silu_and_mul(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """The first half of the channels gates the other."""
    gate, gated = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * gated


def linear(layer: Any, x: torch.Tensor) -> Any:
    """Of one rank: with the bias apart where the release's layer gives it apart."""
    apart = layer.skip_bias_add
    output = torch.nn.functional.linear(x, layer.weight, None if apart else layer.bias)
    if not getattr(layer, "return_bias", True):
        return output
    return output, layer.bias if apart else None


_LAYERS: dict[str, Callable[..., Any]] = {
    "MMEncoderAttention": attention,
    "ApplyRotaryEmb": rotation,
    "RMSNorm": root_mean_square,
    "SiluAndMul": silu_and_mul,
    "LinearBase": linear,
}
