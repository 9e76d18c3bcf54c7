"""Tokens in the order of their experts and back: npu_moe_token_permute, npu_moe_token_unpermute."""

from __future__ import annotations

import torch

from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference

LARGEST_TOP_K = 512
_INDICES = (torch.int32, torch.int64)


@reference("npu::npu_moe_token_permute")
def moe_token_permute(
    tokens: torch.Tensor, indices: torch.Tensor, num_out_tokens: int | None, padded_mode: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_moe_token_permute")
    # By op-plugin's KernelNpuOutputSize.cpp, and dtypes, padding and the limit by CANN's aclnnMoeTokenPermute.
    _require_dims(checks, "tokens", tokens, 2)
    _require_dims(checks, "indices", indices, 1, 2)
    checks.dtype(FLOATING, tokens=tokens)
    checks.dtype(_INDICES, indices=indices)
    checks.require(not padded_mode, "padded_mode is not supported by the op yet; only False is taken")
    top_k = indices.shape[1] if indices.dim() == 2 else 1
    checks.require(top_k <= LARGEST_TOP_K, f"{top_k} experts for a token; the op takes at most {LARGEST_TOP_K}")
    checks.require(
        indices.shape[0] == tokens.shape[0], f"{indices.shape[0]} rows of indices for {tokens.shape[0]} tokens"
    )
    by_expert = indices.flatten().argsort(stable=True)
    place_of = by_expert.argsort(stable=True).to(torch.int32)
    return tokens[by_expert // max(top_k, 1)][: _rows(indices, num_out_tokens)], place_of


@fake("npu::npu_moe_token_permute")
def moe_token_permute_shapes(
    tokens: torch.Tensor, indices: torch.Tensor, num_out_tokens: int | None, **_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = tokens.new_empty((_rows(indices, num_out_tokens), tokens.shape[1]))
    return rows, tokens.new_empty((indices.numel(),), dtype=torch.int32)


@reference("npu::npu_moe_token_unpermute")
def moe_token_unpermute(
    permuted_tokens: torch.Tensor,
    sorted_indices: torch.Tensor,
    probs: torch.Tensor | None,
    padded_mode: bool,
    restore_shape: list[int] | None,
) -> torch.Tensor:
    checks = Checks("npu_moe_token_unpermute")
    # By op-plugin's KernelNpuOutputSize.cpp, and dtypes, padding and the limit by CANN's aclnnMoeTokenUnpermute.
    if probs is not None:
        _require_dims(checks, "probs", probs, 2)
    _require_dims(checks, "permuted_tokens", permuted_tokens, 2)
    _require_dims(checks, "sorted_indices", sorted_indices, 1)
    checks.dtype(FLOATING, permuted_tokens=permuted_tokens, probs=probs)
    checks.dtype((torch.int32,), sorted_indices=sorted_indices)
    checks.require(not padded_mode, "padded_mode is not supported by the op yet; only False is taken")
    top_k = 1 if probs is None else probs.shape[1]
    checks.require(1 <= top_k <= LARGEST_TOP_K, f"{top_k} experts for a token; the op takes 1 to {LARGEST_TOP_K}")
    tokens = sorted_indices.shape[0] // top_k
    checks.require(
        tokens * top_k == sorted_indices.shape[0] and (probs is None or probs.shape[0] == tokens),
        f"{sorted_indices.shape[0]} sorted_indices for probs of shape {list(probs.shape) if probs is not None else []}",
    )
    rows = permuted_tokens.shape[0]
    known = bool(((sorted_indices >= 0) & (sorted_indices < rows)).all())
    checks.emulated(known, f"an index that none of the {rows} permuted_tokens has", "token_order.py")
    found = permuted_tokens[sorted_indices.long()].float().view(tokens, top_k, permuted_tokens.shape[1])
    if probs is not None:
        found = found * probs.float().unsqueeze(-1)
    return found.sum(1).to(permuted_tokens.dtype)


@fake("npu::npu_moe_token_unpermute")
def moe_token_unpermute_shapes(
    permuted_tokens: torch.Tensor, sorted_indices: torch.Tensor, probs: torch.Tensor | None, **_: object
) -> torch.Tensor:
    top_k = 1 if probs is None else probs.shape[1]
    return permuted_tokens.new_empty((sorted_indices.shape[0] // top_k, permuted_tokens.shape[1]))


def _rows(indices: torch.Tensor, num_out_tokens: int | None) -> int:
    """How many rows are kept: a number that is not positive is taken away from all of them."""
    every = int(indices.numel())
    return min(num_out_tokens, every) if num_out_tokens and num_out_tokens > 0 else every + (num_out_tokens or 0)


def _require_dims(checks: Checks, name: str, tensor: torch.Tensor, *allowed: int) -> None:
    takes = " or ".join(str(count) for count in sorted(allowed, reverse=True))
    checks.require(
        tensor.dim() in allowed,
        f"The dims of input {name} should be {takes} dimensional, but got {tensor.dim()}-dimensional.",
    )
