"""Latent attention in float64, from the formulas: what MLA decode should give."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    x = x.double()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight.double()


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Neighbours turned against each other; what was first of its pair comes first, then what was second."""
    x, cos, sin = x.double(), cos.double(), sin.double()
    first, second = x[..., 0::2], x[..., 1::2]
    half = first.shape[-1]
    return torch.cat(
        (
            first * cos[..., :half] - second * sin[..., :half],
            second * cos[..., half:] + first * sin[..., half:],
        ),
        dim=-1,
    )


def projected(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.double() @ weight.double().T


def by_head(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, in] by [heads, in, out]."""
    return torch.einsum("thi,hio->tho", x.double(), weights.double())


def written(cache: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """A cache [blocks, block, 1, size] after its rows were written to slots."""
    after = cache.double().clone()
    after.view(-1, cache.shape[-1])[slots.long()] = rows
    return after


def attended(
    latent_query: torch.Tensor,
    rope_query: torch.Tensor,
    latents: torch.Tensor,
    ropes: torch.Tensor,
    table: torch.Tensor,
    lengths: Sequence[int],
    scale: float,
) -> torch.Tensor:
    """What queries [tokens, heads, ...] attend to: as many tokens of each sequence, its latest ones."""
    new = latent_query.shape[0] // len(lengths)
    outputs = []
    for number, length in enumerate(lengths):
        keys, turned = (cache[table[number].long()].flatten(0, 2)[:length] for cache in (latents, ropes))
        for token in range(new):
            row = number * new + token
            seen = length - new + token + 1
            scores = (latent_query[row] @ keys[:seen].T + rope_query[row] @ turned[:seen].T) * scale
            outputs.append(scores.softmax(-1) @ keys[:seen])
    return torch.stack(outputs)
