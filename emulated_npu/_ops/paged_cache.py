"""The paged KV cache: writing slots, reading blocks, and attention of one token over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emulated_npu import _accounting
from emulated_npu._refusals import HALF_PRECISION, Checks

from ._reference import reference
from ._softmax_attention import attend
from ._state import STATE

WORKSPACE_BYTES = 32
LARGEST_HEAD = 576


@reference("atb::_npu_reshape_and_cache")
def reshape_and_cache(
    key: torch.Tensor,
    value: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    slot_indices: torch.Tensor,
) -> None:
    checks = Checks("_npu_reshape_and_cache")
    write_slots(checks, "key", key, key_cache, slot_indices)
    write_slots(checks, "value", value, value_cache, slot_indices)


@reference("atb::_npu_reshape_and_cache_siso")
def reshape_and_cache_siso(key: torch.Tensor, key_cache: torch.Tensor, slot_indices: torch.Tensor) -> None:
    write_slots(Checks("_npu_reshape_and_cache_siso"), "key", key, key_cache, slot_indices)


def write_slots(
    checks: Checks, name: str, tokens: torch.Tensor, cache: torch.Tensor, slot_indices: torch.Tensor
) -> None:
    """Write ``tokens`` [tokens, heads, size] to slots of ``cache`` [blocks, block size, heads, size]."""
    checks.dtype((torch.int32,), slot_indices=slot_indices)
    checks.dims(1, slot_indices=slot_indices)
    checks.dims(3, **{name: tokens})
    checks.dims(4, **{f"{name}_cache": cache})
    checks.same_dtype(**{name: tokens, f"{name}_cache": cache})
    checks.contiguous(**{f"{name}_cache": cache})
    checks.require(
        cache.shape[2:] == tokens.shape[1:],
        f"{name} {list(tokens.shape)} does not fit {name}_cache {list(cache.shape)}",
    )
    checks.require(
        tokens.shape[0] == slot_indices.shape[0], f"{tokens.shape[0]} tokens, but {slot_indices.shape[0]} slots"
    )
    cache.view(-1, *cache.shape[2:])[used_slots(checks, slot_indices, cache)] = tokens[slot_indices >= 0]


def used_slots(checks: Checks, slots: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
    """The slots to write; a negative one stands for a token that is not kept."""
    kept = slots[slots >= 0].long()
    room = cache.shape[0] * cache.shape[1]
    checks.require(
        kept.numel() == 0 or int(kept.max()) < room,
        f"slot {int(kept.max()) if kept.numel() else 0} is outside a cache of {room} slots",
    )
    return kept


@reference("atb::_npu_paged_attention", host=("context_lens",))
def paged_attention(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    num_kv_heads: int,
    num_heads: int,
    scale_value: float,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    out: torch.Tensor,
    workspace: torch.Tensor | None = None,
) -> None:
    checks = Checks("_npu_paged_attention")
    lengths = checks.host_lengths("context_lens", context_lens)
    checks.dims(4, key_cache=key_cache, value_cache=value_cache)
    checks.same_dtype(query=query, key_cache=key_cache, value_cache=value_cache, out=out)
    checks.require(
        key_cache.shape[2] == value_cache.shape[2] == num_kv_heads,
        f"the caches have {key_cache.shape[2]} and {value_cache.shape[2]} heads, but num_kv_heads is {num_kv_heads}",
    )
    attend_to_blocks(checks, query, key_cache, value_cache, num_heads, scale_value, block_table, lengths, out)


@reference("atb::_npu_paged_attention_get_workspace", host=("context_lens",), kernel=False)
def paged_attention_workspace(query: torch.Tensor, **_: Any) -> torch.Tensor:
    return query.new_empty(WORKSPACE_BYTES, dtype=torch.uint8)


@reference("atb::_npu_paged_attention_mla", host=("context_lens",))
def paged_attention_mla(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    num_kv_heads: int,
    num_heads: int,
    scale_value: float,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    mla_vheadsize: int,
    out: torch.Tensor,
) -> None:
    checks = Checks("_npu_paged_attention_mla")
    lengths = checks.host_lengths("context_lens", context_lens)
    checks.dims(4, key_cache=key_cache)
    checks.same_dtype(query=query, key_cache=key_cache, out=out)
    checks.require(
        key_cache.shape[2] == num_kv_heads == 1,
        f"key_cache has {key_cache.shape[2]} heads and num_kv_heads is {num_kv_heads}; latent attention has one",
    )
    checks.require(
        0 < mla_vheadsize <= key_cache.shape[3],
        f"mla_vheadsize {mla_vheadsize} is not within a head of {key_cache.shape[3]}",
    )
    values = key_cache[..., :mla_vheadsize]
    attend_to_blocks(checks, query, key_cache, values, num_heads, scale_value, block_table, lengths, out)


def attend_to_blocks(
    checks: Checks,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    num_heads: int,
    scale: float,
    block_table: torch.Tensor,
    lengths: Sequence[int],
    out: torch.Tensor,
) -> torch.Tensor:
    """Attention of one query token per sequence over its blocks, into ``out``; the log-sum-exp is returned."""
    checks.dims(3, query=query)
    checks.dtype(HALF_PRECISION, query=query)
    checks.dims(2, block_table=block_table)
    checks.dtype((torch.int32,), block_table=block_table)
    checks.grouped_heads(num_heads, keys.shape[2])
    tokens, heads, size = query.shape
    checks.require(heads == num_heads, f"query has {heads} heads, but num_heads is {num_heads}")
    checks.require(
        size == keys.shape[3] and size <= LARGEST_HEAD,
        f"query has head size {size}, the keys {keys.shape[3]}; they must agree, at most {LARGEST_HEAD}",
    )
    checks.require(
        len(lengths) == tokens and block_table.shape[0] >= tokens,
        f"{tokens} tokens, but {len(lengths)} context lengths and {block_table.shape[0]} rows of block_table",
    )
    checks.contiguous(out=out)
    checks.require(
        out.numel() == tokens * heads * values.shape[3],
        f"out has shape {list(out.shape)}; expected {[tokens, heads, values.shape[3]]}",
    )
    result = out.view(tokens, heads, values.shape[3])
    sums = torch.empty(tokens, heads)
    for index, length in enumerate(lengths):
        blocks = blocks_of(checks, block_table[index], length, keys)
        attended = attend(
            query[index : index + 1],
            keys[blocks].flatten(0, 1)[:length],
            values[blocks].flatten(0, 1)[:length],
            scale,
        )
        result[index] = attended.output[0].to(out.dtype)
        sums[index] = attended.log_sum_exp[0]
    return sums


def blocks_of(checks: Checks, row: torch.Tensor, length: int, cache: torch.Tensor) -> torch.Tensor:
    """The blocks that hold the first ``length`` tokens of the sequence with this row of the block table."""
    count = -(-length // cache.shape[1])
    checks.require(
        count <= row.shape[0], f"{length} tokens need {count} blocks, but block_table has {row.shape[0]} columns"
    )
    blocks = row[:count].long()
    checks.require(
        bool(((blocks >= 0) & (blocks < cache.shape[0])).all()),
        f"block_table names blocks {blocks.tolist()}, but the cache has {cache.shape[0]}",
    )
    return blocks


@reference("atb::npu_paged_cache_load.out")
def paged_cache_load_into(
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    seq_starts: torch.Tensor | None,
    cumsum: bool,
    key: torch.Tensor,
    value: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_paged_cache_load")
    loaded = _load(checks, key_cache, value_cache, block_table, context_lens, seq_starts, cumsum)
    for name, tensor, part in (("key", key, loaded[0]), ("value", value, loaded[1])):
        checks.same_dtype(**{name: tensor, f"{name}_cache": part})
        checks.require(
            tensor.numel() >= part.numel() and tensor.shape[-1] == part.shape[-1],
            f"{name} {list(tensor.shape)} has no room for {list(part.shape)}",
        )
        checks.contiguous(**{name: tensor})
        tensor.view(-1, *part.shape[1:])[: part.shape[0]] = part
    return key, value


def _read_lengths(result: object, context_lens: torch.Tensor, **_: Any) -> None:
    """Without ``out`` the op has to know the size of its result, and reads the lengths one by one."""
    if STATE.place == "npu":
        for index in range(context_lens.numel()):
            _accounting.copied_to_host(context_lens[index], "npu_paged_cache_load")


@reference("atb::npu_paged_cache_load", after=_read_lengths)
def paged_cache_load(
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    seq_starts: torch.Tensor | None,
    cumsum: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_paged_cache_load")
    return _load(checks, key_cache, value_cache, block_table, context_lens, seq_starts, cumsum)


def _load(
    checks: Checks,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    seq_starts: torch.Tensor | None,
    cumsum: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks.dims(4, key_cache=key_cache, value_cache=value_cache)
    checks.dims(2, block_table=block_table)
    checks.dims(1, context_lens=context_lens)
    checks.dtype((torch.int32,), block_table=block_table, context_lens=context_lens, seq_starts=seq_starts)
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        row = cache.shape[2] * cache.shape[3] * cache.element_size()
        checks.require(row % 32 == 0, f"a token of {name} has {row} bytes, not a multiple of 32")
    lengths = (context_lens.diff() if cumsum else context_lens).tolist()
    starts = [0] * len(lengths) if seq_starts is None else seq_starts.tolist()
    block_size = key_cache.shape[1]
    keys, values = [], []
    for index, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        # A start inside a block counts from the beginning of that block.
        blocks = blocks_of(checks, block_table[index, start // block_size :], length, key_cache)
        keys.append(key_cache[blocks].flatten(0, 1)[:length])
        values.append(value_cache[blocks].flatten(0, 1)[:length])
    if not keys:
        return key_cache.new_empty(0, *key_cache.shape[2:]), value_cache.new_empty(0, *value_cache.shape[2:])
    return torch.cat(keys), torch.cat(values)
