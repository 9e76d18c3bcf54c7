"""Plain float64 versions of what the ops compute, written without looking at the ops' own code."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch


def attention(query, key, value, scale, visible=None):
    """[queries, heads, size]; one head and one query at a time, on purpose."""
    query, key, value = query.double(), key.double(), value.double()
    queries, heads, _ = query.shape
    group = heads // key.shape[1]
    output = torch.zeros(queries, heads, value.shape[2], dtype=torch.float64)
    log_sums = torch.full((queries, heads), math.inf, dtype=torch.float64)
    for head in range(heads):
        for row in range(queries):
            seen = [j for j in range(key.shape[0]) if visible is None or visible(row, j)]
            if not seen:
                continue
            scores = torch.stack([query[row, head] @ key[j, head // group] for j in seen]) * scale
            log_sums[row, head] = torch.logsumexp(scores, 0)
            weights = torch.softmax(scores, 0)
            output[row, head] = sum(w * value[j, head // group] for w, j in zip(weights, seen, strict=True))
    return output, log_sums


def packed_attention(query, key, value, lengths: Iterable[int], scale, key_lengths=None, visible=None):
    lengths = list(lengths)
    parts, sums, start, key_start = [], [], 0, 0
    for length, keys in zip(lengths, key_lengths or lengths, strict=True):
        rule = None if visible is None else (lambda i, j, n=length, m=keys: visible(i, j, n, m))
        part, log_sum = attention(
            query[start : start + length],
            key[key_start : key_start + keys],
            value[key_start : key_start + keys],
            scale,
            rule,
        )
        parts.append(part)
        sums.append(log_sum)
        start, key_start = start + length, key_start + keys
    return torch.cat(parts), torch.cat(sums)


def rotated(x, cos, sin, *, interleaved):
    """Full-width cos and sin; element by element."""
    x, cos, sin = x.double(), cos.double(), sin.double()
    size = x.shape[-1]
    out = torch.empty(torch.broadcast_shapes(x.shape, cos.shape), dtype=torch.float64)
    cos, sin = cos.expand(out.shape), sin.expand(out.shape)
    for i in range(size):
        if interleaved:
            partner, sign = (i + 1, -1) if i % 2 == 0 else (i - 1, 1)
        else:
            partner, sign = (i + size // 2, -1) if i < size // 2 else (i - size // 2, 1)
        out[..., i] = x[..., i] * cos[..., i] + sign * x[..., partner] * sin[..., i]
    return out


def rms_normed(x, gamma, epsilon):
    x = x.double()
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon) * gamma.double()


def latent_rope(x, cos, sin):
    """Interleaved in, halves out, as DeepSeek's rope is fused on the device."""
    x = x.double()
    evens, odds = x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    cos, sin = cos.double(), sin.double()
    first = evens * cos[..., :half] - odds * sin[..., :half]
    second = odds * cos[..., half:] + evens * sin[..., half:]
    return torch.cat([first, second], dim=-1)


def tolerance(dtype):
    """What rounding a correct result to ``dtype`` may cost, for values around one."""
    return {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]


def assert_close(actual, expected, dtype=None):
    bound = tolerance(dtype or actual.dtype)
    torch.testing.assert_close(actual.cpu().double(), expected.double(), rtol=bound, atol=bound)
