"""Attention layers to test with, inputs for them, and the float64 result they have to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ascend_patches.npu import attention_kernels, encoder_attention
from ascend_patches.patches.mm_encoder_attention.plans import Release, plan_of

HEADS = 2
SIZE = 72


@dataclass
class Inputs:
    """Queries, keys and values of one layer, [batch, tokens, heads, size]."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


def inputs(
    tokens: int,
    *,
    batch: int = 1,
    heads: int = HEADS,
    kv_heads: int = HEADS,
    size: int = SIZE,
    keys_per_query: int = 1,
    dtype: torch.dtype = torch.bfloat16,
) -> Inputs:
    generator = torch.Generator().manual_seed(tokens)

    def draw(length: int, count: int) -> torch.Tensor:
        return torch.randn(batch, length, count, size, generator=generator).to(dtype).to("npu")

    return Inputs(draw(tokens, heads), *(draw(tokens * keys_per_query, kv_heads) for _ in range(2)))


def boundaries(lengths: Sequence[int], *, device: str = "npu", dtype: torch.dtype = torch.int32) -> torch.Tensor:
    """``cu_seqlens`` of these lengths."""
    ends = torch.tensor([0, *lengths]).cumsum(0)
    return ends.to(dtype).to(device)


def exact(given: Inputs, lengths: Sequence[int], *, scale: float | None = None) -> torch.Tensor:
    """Attention in float64, sequence by sequence."""
    query, key, value = (tensor.cpu().double().flatten(0, 1) for tensor in (given.query, given.key, given.value))
    key, value = (tensor.repeat_interleave(query.shape[1] // tensor.shape[1], dim=1) for tensor in (key, value))
    ratio = key.shape[0] // query.shape[0]
    scale = scale if scale is not None else query.shape[2] ** -0.5
    parts, start = [], 0
    for length in lengths:
        keys = slice(start * ratio, (start + length) * ratio)
        scores = torch.einsum("qhd,khd->hqk", query[start : start + length], key[keys]) * scale
        parts.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[keys]))
        start += length
    return torch.cat(parts).view(given.query.shape)


class Layer(torch.nn.Module):
    """An encoder's attention layer: what MMEncoderAttention has, and no more."""

    release = Release(kernel=lambda: attention_kernels.FLASH_ATTENTION_UNPAD)

    def __init__(
        self,
        prefix: str = "visual.blocks.0.attn",
        *,
        heads: int = HEADS,
        kv_heads: int = HEADS,
        size: int = SIZE,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.prefix, self.num_heads, self.num_kv_heads = prefix, heads, kv_heads
        self.head_size, self.scale = size, scale

    def forward(self, given: Inputs, cu_seqlens: torch.Tensor | None, **more: Any) -> torch.Tensor:
        return encoder_attention.forward(
            plan_of(self, self.release), given.query, given.key, given.value, cu_seqlens, more.get("sequence_lengths")
        )


def layer_with(kernel: str, **given: Any) -> Layer:
    """A layer of a release that calls that kernel."""
    layer = Layer(**given)
    layer.release = Release(kernel=lambda: kernel)
    return layer
