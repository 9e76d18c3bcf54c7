"""The sparse modes that the attention ops share: which key a query may see."""

from __future__ import annotations

import torch

from emulated_npu._refusals import Checks

DEFAULT, ALL, LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, BAND = 0, 1, 2, 3, 4
COMPRESSED = 2048
"""The causal and band modes take a fixed mask of this many rows and columns, whatever the lengths are."""

MASK_DTYPES = (torch.bool, torch.int8, torch.uint8)


def masked(
    checks: Checks,
    atten_mask: torch.Tensor | None,
    sparse_mode: int,
    *,
    sequence: int,
    queries: int,
    keys: int,
    before: int,
    after: int,
) -> torch.Tensor | None:
    """True where query i of ``sequence`` must not see key j; None when every query sees every key."""
    checks.require(
        sparse_mode in (DEFAULT, ALL, LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, BAND),
        f"sparse_mode {sparse_mode} is not one of 0, 1, 2, 3, 4",
    )
    if atten_mask is None:
        checks.require(sparse_mode == DEFAULT, f"sparse_mode {sparse_mode} needs an atten_mask, but got None")
        return None
    if atten_mask.dtype not in MASK_DTYPES:
        raise checks.refuse(f"atten_mask is {atten_mask.dtype}; the op takes bool, int8 or uint8")
    if sparse_mode in (DEFAULT, ALL):
        given = _of_sequence(checks, atten_mask, sequence, queries, keys).bool()
        return given | _outside_band(queries, keys, before, after) if sparse_mode == DEFAULT else given
    checks.require(
        list(atten_mask.shape[-2:]) == [COMPRESSED, COMPRESSED],
        f"sparse_mode {sparse_mode} takes a compressed atten_mask of {COMPRESSED} x {COMPRESSED}, "
        f"but got {list(atten_mask.shape)}",
    )
    if sparse_mode == LEFT_UP_CAUSAL:
        return _outside_band(queries, keys, queries + keys, 0)
    shift = keys - queries
    if sparse_mode == RIGHT_DOWN_CAUSAL:
        return _outside_band(queries, keys, queries + keys, shift)
    return _outside_band(queries, keys, before - shift, after + shift)


def _of_sequence(checks: Checks, atten_mask: torch.Tensor, sequence: int, queries: int, keys: int) -> torch.Tensor:
    mask = atten_mask
    while mask.dim() > 2:
        mask = mask[sequence if mask.shape[0] > 1 else 0]
    checks.require(
        mask.dim() == 2 and mask.shape[0] >= queries and mask.shape[1] >= keys,
        f"atten_mask {list(atten_mask.shape)} does not cover {queries} queries and {keys} keys",
    )
    return mask[:queries, :keys]


def _outside_band(queries: int, keys: int, before: int, after: int) -> torch.Tensor:
    distance = torch.arange(keys)[None, :] - torch.arange(queries)[:, None]
    return (distance < -before) | (distance > after)
