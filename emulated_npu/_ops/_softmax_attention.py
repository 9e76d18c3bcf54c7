"""Attention of one sequence in float32: what every attention op is made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Attended(NamedTuple):
    """The result of attention over one sequence, in float32."""

    output: torch.Tensor
    """[queries, heads, value size]"""
    maximum: torch.Tensor
    """[queries, heads], of the scaled scores"""
    total: torch.Tensor
    """[queries, heads], of exp(score - maximum)"""

    @property
    def log_sum_exp(self) -> torch.Tensor:
        """[queries, heads]; infinite where no key was left to attend to, as the ops document it."""
        summed = self.maximum + self.total.log()
        return torch.where(self.total > 0, summed, torch.full_like(summed, math.inf))


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    *,
    masked: torch.Tensor | None = None,
    sink: torch.Tensor | None = None,
) -> Attended:
    """Softmax attention of ``query`` [queries, heads, size] over ``key`` and ``value`` [keys, key heads, size].

    ``masked`` is true where a query must not see a key, and broadcasts to [heads, queries, keys]. ``sink`` [heads]
    is one more score that takes part in the sum and adds nothing to the output.
    """
    heads = query.shape[1]
    scores = torch.bmm(_by_head(query, heads), _by_head(key, heads).transpose(1, 2)) * scale
    if masked is not None:
        scores = scores.masked_fill(masked, -math.inf)
    if sink is not None:
        extra = sink.float().view(heads, 1, 1).expand(heads, query.shape[0], 1)
        scores = torch.cat([scores, extra], dim=-1)
    if scores.shape[-1] == 0:
        return _nothing_to_see(query, value)
    maximum = scores.amax(dim=-1, keepdim=True)
    # A row without any key to see has -inf as its maximum, and -inf - -inf is not a number.
    weights = torch.exp(scores - maximum.masked_fill(maximum == -math.inf, 0.0))
    total = weights.sum(dim=-1, keepdim=True)
    keys = weights[..., : key.shape[0]]
    output = torch.bmm(keys, _by_head(value, heads)) / total.masked_fill(total == 0.0, 1.0)
    return Attended(output.transpose(0, 1), maximum[..., 0].T, total[..., 0].T)


def _by_head(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[tokens, heads, size] in float32 as [heads, tokens, size], key heads repeated to ``heads``.

    Always into fresh memory: the result then does not depend on how the argument was laid out.
    """
    group = heads // tensor.shape[1]
    repeated = tensor.repeat_interleave(group, dim=1) if group > 1 else tensor
    return repeated.transpose(0, 1).to(torch.float32, copy=True).contiguous()


def _nothing_to_see(query: torch.Tensor, value: torch.Tensor) -> Attended:
    queries, heads, _ = query.shape
    output = torch.zeros(queries, heads, value.shape[-1])
    return Attended(output, torch.full((queries, heads), -math.inf), torch.zeros(queries, heads))
