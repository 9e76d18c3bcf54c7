"""Multi-head latent attention (MLA): in parts that are merged (ring), and over a paged latent cache."""

from __future__ import annotations

import math
from typing import Any

import torch

from emulated_npu._refusals import HALF_PRECISION, Checks

from ._reference import fake, reference
from ._softmax_attention import attend
from .latent_prologue import LATENT, ROPE
from .paged_cache import attend_to_blocks

HEAD = 128
MOST_SEQUENCES = 8192
LARGEST_BLOCK = 128

Pair = tuple[torch.Tensor, torch.Tensor]


@reference("atb::npu_ring_mla", host=("seqlen",))
def ring_mla(q_nope: torch.Tensor, value: torch.Tensor, head_num: int, **call: Any) -> Pair:
    output = q_nope.new_empty(q_nope.shape[0], head_num, value.shape[2])
    softmax_lse = q_nope.new_empty(head_num, q_nope.shape[0], dtype=torch.float32)
    return _ring(q_nope=q_nope, value=value, head_num=head_num, output=output, softmax_lse=softmax_lse, **call)


@reference("atb::npu_ring_mla.out", host=("seqlen",))
def ring_mla_into(**call: Any) -> Pair:
    return _ring(**call)


_RING_MODES = {
    "kernel_type": (None, "kernel_type_default", "kernel_type_high_precision"),
    "mask_type": (None, "no_mask", "mask_type_triu"),
    "input_layout": (None, "type_bsnd"),
    "calc_type": (None, "calc_type_default", "calc_type_first_ring"),
}


def _ring(
    q_nope: torch.Tensor,
    q_rope: torch.Tensor,
    k_nope: torch.Tensor,
    k_rope: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    seqlen: torch.Tensor,
    head_num: int,
    kv_head_num: int,
    pre_out: torch.Tensor | None,
    prev_lse: torch.Tensor | None,
    qk_scale: float,
    output: torch.Tensor,
    softmax_lse: torch.Tensor,
    **modes: str | None,
) -> Pair:
    checks = Checks("npu_ring_mla")
    for name, allowed in _RING_MODES.items():
        checks.require(modes[name] in allowed, f"{name} {modes[name]!r} is none of {allowed[1:]}")
    first = modes["calc_type"] in (None, "calc_type_first_ring")
    causal = modes["mask_type"] == "mask_type_triu"
    checks.dims(3, q_nope=q_nope, q_rope=q_rope, k_nope=k_nope, k_rope=k_rope, value=value)
    checks.dtype(HALF_PRECISION, q_nope=q_nope, q_rope=q_rope, k_nope=k_nope, k_rope=k_rope, value=value)
    checks.same_dtype(q_nope=q_nope, q_rope=q_rope, k_nope=k_nope, k_rope=k_rope, value=value, output=output)
    checks.grouped_heads(head_num, kv_head_num)
    tokens, keys = q_nope.shape[0], k_nope.shape[0]
    checks.shape([tokens, head_num, HEAD], q_nope=q_nope)
    checks.shape([tokens, head_num, ROPE], q_rope=q_rope)
    checks.shape([keys, kv_head_num, HEAD], k_nope=k_nope, value=value)
    checks.shape([keys, kv_head_num, ROPE], k_rope=k_rope)
    if causal:
        # One plane, or a plane and its transposed one for the ring.
        checks.shape([2, 512, 512] if mask.dim() == 3 else [512, 512], mask=mask)
    checks.shape([tokens, head_num, HEAD], output=output)
    checks.shape([head_num, tokens], softmax_lse=softmax_lse)
    checks.contiguous(output=output, softmax_lse=softmax_lse)
    query_lengths, key_lengths = _ring_lengths(checks, seqlen, tokens, keys)

    query, key = torch.cat([q_nope, q_rope], dim=-1), torch.cat([k_nope, k_rope], dim=-1)
    outputs, sums, start, key_start = [], [], 0, 0
    for queries, count in zip(query_lengths, key_lengths, strict=True):
        hidden = torch.ones(queries, count).triu(count - queries + 1).bool() if causal and count else None
        attended = attend(
            query[start : start + queries],
            key[key_start : key_start + count],
            value[key_start : key_start + count],
            qk_scale,
            masked=hidden,
        )
        outputs.append(attended.output)
        # Nothing attended to weighs nothing in the merge, so here it is -inf.
        sums.append(attended.maximum + attended.total.log())
        start, key_start = start + queries, key_start + count
    result, log_sum = torch.cat(outputs), torch.cat(sums)
    if not first:
        if pre_out is None or prev_lse is None:
            raise checks.refuse("calc_type_default merges with an earlier part: pre_out and prev_lse must be given")
        checks.shape(output.shape, pre_out=pre_out)
        checks.shape(softmax_lse.shape, prev_lse=prev_lse)
        checks.dtype((torch.float32,), prev_lse=prev_lse)
        before = prev_lse.T
        together = torch.logaddexp(before, log_sum)
        result = pre_out.float() * torch.exp(before - together).unsqueeze(-1) + result * torch.exp(
            log_sum - together
        ).unsqueeze(-1)
        log_sum = together
    output.copy_(result)
    softmax_lse.copy_(log_sum.T)
    return output, softmax_lse


def _ring_lengths(checks: Checks, seqlen: torch.Tensor, tokens: int, keys: int) -> tuple[list[int], list[int]]:
    checks.dims(1, 2, seqlen=seqlen)
    checks.dtype((torch.int32,), seqlen=seqlen)
    rows = seqlen.tolist() if seqlen.dim() == 2 else [seqlen.tolist()] * 2
    checks.require(len(rows) == 2, f"seqlen {list(seqlen.shape)} is not [batch] or [2, batch]")
    query_lengths, key_lengths = rows
    checks.require(
        sum(query_lengths) == tokens and sum(key_lengths) == keys,
        f"seqlen adds up to {sum(query_lengths)} queries and {sum(key_lengths)} keys; there are {tokens} and {keys}",
    )
    for queries, count in zip(query_lengths, key_lengths, strict=True):
        checks.require(queries > 0, "a sequence without queries is not taken")
        checks.require(
            count == 0 or count >= queries, f"a sequence of {queries} queries has {count} keys; 0 or at least as many"
        )
    return query_lengths, key_lengths


@reference("atb::npu_multi_head_latent_attention")
def multi_head_latent_attention(q_nope: torch.Tensor, q_rope: torch.Tensor, **call: Any) -> torch.Tensor:
    output = torch.empty_like(q_nope, dtype=q_rope.dtype, memory_format=torch.contiguous_format)
    _latent(q_nope=q_nope, q_rope=q_rope, output=output, **call)
    return output


@reference("atb::npu_multi_head_latent_attention.out")
def multi_head_latent_attention_into(output: torch.Tensor, **call: Any) -> torch.Tensor:
    _latent(output=output, **call)
    return output


@reference("atb::npu_multi_head_latent_attention.lse")
def multi_head_latent_attention_lse(
    q_nope: torch.Tensor, q_rope: torch.Tensor, return_lse: bool, workspace: torch.Tensor | None, **call: Any
) -> Pair:
    output = torch.empty_like(q_nope, dtype=q_rope.dtype, memory_format=torch.contiguous_format)
    sums = _latent(q_nope=q_nope, q_rope=q_rope, output=output, **call)
    lse = sums.unsqueeze(-1).to(q_nope.dtype) if return_lse else torch.full((*sums.shape, 1), math.nan).to(q_nope.dtype)
    return output, lse


@reference("atb::npu_multi_head_latent_attention.lse_out")
def multi_head_latent_attention_lse_into(
    output: torch.Tensor, lse: torch.Tensor, return_lse: bool, workspace: torch.Tensor | None, **call: Any
) -> Pair:
    sums = _latent(output=output, **call)
    if return_lse:
        Checks("npu_multi_head_latent_attention").shape([*sums.shape, 1], lse=lse)
        lse.copy_(sums.unsqueeze(-1))
    return output, lse


@fake("atb::npu_multi_head_latent_attention")
def multi_head_latent_attention_shapes(q_nope: torch.Tensor, q_rope: torch.Tensor, **_: Any) -> torch.Tensor:
    return torch.empty_like(q_nope, dtype=q_rope.dtype)


@fake("atb::npu_multi_head_latent_attention.lse")
def multi_head_latent_attention_lse_shapes(q_nope: torch.Tensor, q_rope: torch.Tensor, **_: Any) -> Pair:
    return torch.empty_like(q_nope, dtype=q_rope.dtype), q_nope.new_empty([*q_nope.shape[:2], 1])


def _latent(
    q_nope: torch.Tensor,
    q_rope: torch.Tensor,
    ctkv: torch.Tensor,
    k_rope: torch.Tensor,
    block_tables: torch.Tensor,
    context_lens: list[int],
    q_headnum: int,
    qk_scale: float,
    kv_headnum: int,
    mask: torch.Tensor | None,
    qseqlen: list[int] | None,
    qk_descale: torch.Tensor | None,
    pv_descale: torch.Tensor | None,
    mask_type: str | None,
    calc_type: str | None,
    cache_mode: str | None,
    output: torch.Tensor,
) -> torch.Tensor:
    """Write the attention to ``output``; the log-sum-exp [tokens, heads] is returned."""
    checks = Checks("npu_multi_head_latent_attention")
    where = "latent_attention.py"
    checks.emulated(cache_mode in (None, "krope_ctkv"), f"cache_mode {cache_mode!r}", where)
    checks.emulated(mask_type in (None, "undefined") and mask is None, f"mask_type {mask_type!r}", where)
    checks.emulated(calc_type in (None, "calc_type_undefined"), f"calc_type {calc_type!r}", where)
    checks.emulated(qseqlen is None and qk_descale is None and pv_descale is None, "qseqlen or a descale", where)
    checks.dims(3, q_nope=q_nope, q_rope=q_rope)
    checks.dims(4, ctkv=ctkv, k_rope=k_rope)
    checks.same_dtype(q_nope=q_nope, q_rope=q_rope, ctkv=ctkv, k_rope=k_rope, output=output)
    tokens = q_nope.shape[0]
    checks.shape([tokens, q_headnum, LATENT], q_nope=q_nope)
    checks.shape([tokens, q_headnum, ROPE], q_rope=q_rope)
    blocks, block_size = ctkv.shape[:2]
    checks.shape([blocks, block_size, kv_headnum, LATENT], ctkv=ctkv)
    checks.shape([blocks, block_size, kv_headnum, ROPE], k_rope=k_rope)
    checks.require(block_size <= LARGEST_BLOCK, f"the block size is {block_size}; at most {LARGEST_BLOCK}")
    checks.require(tokens <= MOST_SEQUENCES, f"{tokens} sequences; at most {MOST_SEQUENCES}")
    return attend_to_blocks(
        checks,
        torch.cat([q_nope, q_rope], dim=-1),
        torch.cat([ctkv, k_rope], dim=-1),
        ctkv,
        q_headnum,
        qk_scale,
        block_tables,
        context_lens,
        output,
    )
