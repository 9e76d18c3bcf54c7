"""Moving rows by index: npu_scatter_pa_kv_cache, npu_gather_pa_kv_cache, npu_scatter_nd_update_."""

from __future__ import annotations

from typing import Any

import torch

from emulated_npu._refusals import Checks

from ._reference import fake, reference
from .memory import FRACTAL_NZ, format_of
from .paged_cache import used_slots

_INDICES = (torch.int32, torch.int64)
_SCATTERED = (torch.float32, torch.float16, torch.bool, torch.bfloat16, torch.int64, torch.int8)
_NZ, _NORM = "PA_NZ", "Norm"
_AS_THEY_LIE = ("key", "value", "key_cache", "value_cache", "slot_mapping")


@reference("npu::npu_scatter_pa_kv_cache", as_they_lie=_AS_THEY_LIE)
def scatter_pa_kv_cache(**call: Any) -> None:
    _scatter(Checks("npu_scatter_pa_kv_cache"), **call)


@reference("npu::npu_scatter_pa_kv_cache_functional", as_they_lie=_AS_THEY_LIE)
def scatter_pa_kv_cache_functional(**call: Any) -> tuple[torch.Tensor, torch.Tensor]:
    caches = {name: call[name].clone(memory_format=torch.contiguous_format) for name in ("key_cache", "value_cache")}
    _scatter(Checks("npu_scatter_pa_kv_cache_functional"), **{**call, **caches})
    return caches["key_cache"], caches["value_cache"]


def _scatter(
    checks: Checks,
    key: torch.Tensor,
    value: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    compress_lens: torch.Tensor | None,
    compress_seq_offsets: torch.Tensor | None,
    seq_lens: torch.Tensor | None,
    cache_mode: str | None = "",
) -> None:
    """By op-plugin's page on the op; a release without cache_mode goes by the format of the cache."""
    for name, option in (("compress_lens", compress_lens), ("seq_lens", seq_lens)):
        checks.emulated(option is None and key.dim() != 4, f"a compressed cache ({name})", "cache_moves.py")
    checks.dims(3, key=key, value=value)
    checks.same_dtype(key=key, value=value, key_cache=key_cache, value_cache=value_cache)
    checks.dtype(_INDICES, slot_mapping=slot_mapping)
    checks.dims(1, slot_mapping=slot_mapping)
    checks.contiguous(key=key, value=value, slot_mapping=slot_mapping)
    checks.require(key.shape[:2] == value.shape[:2], f"key {list(key.shape)} and value {list(value.shape)} differ")
    checks.require(key.shape[0] == slot_mapping.shape[0], f"{key.shape[0]} tokens, but {slot_mapping.shape[0]} slots")
    checks.require(
        cache_mode in ("", None, _NORM, _NZ), f"cache_mode is {cache_mode!r}; the op takes None, 'Norm' and 'PA_NZ'"
    )
    fractal = cache_mode == _NZ or (cache_mode == "" and format_of(key_cache) == FRACTAL_NZ)
    kept = slot_mapping >= 0
    for name, tokens, cache in (("key", key, key_cache), ("value", value, value_cache)):
        rows = _rows(checks, f"{name}_cache", cache, fractal=fractal)
        checks.require(
            rows.shape[2:].numel() == tokens.shape[1:].numel(),
            f"{name} {list(tokens.shape)} does not fit {name}_cache {list(cache.shape)}"
            + (" of the NZ layout [blocks, heads x size / last, block size, last]" if fractal else ""),
        )
        slots = used_slots(checks, slot_mapping, rows)
        where = (slots // rows.shape[1], slots % rows.shape[1])
        rows[where] = tokens[kept].reshape(-1, *rows.shape[2:])


def _rows(checks: Checks, name: str, cache: torch.Tensor, *, fractal: bool) -> torch.Tensor:
    """A cache as [blocks, block size, ...], over the same memory."""
    # Five dimensions have the heads apart from the parts of a head, as vllm-ascend gives them.
    checks.dims(*((4, 5) if fractal else (4,)), **{name: cache})
    return cache.movedim(-2, 1) if fractal else cache


@reference("npu::npu_gather_pa_kv_cache")
def gather_pa_kv_cache(**call: Any) -> None:
    _gather(Checks("npu_gather_pa_kv_cache"), **call)


@reference("npu::npu_gather_pa_kv_cache_functional")
def gather_pa_kv_cache_functional(**call: Any) -> tuple[torch.Tensor, torch.Tensor]:
    results = {name: call[name].clone() for name in ("key", "value")}
    _gather(Checks("npu_gather_pa_kv_cache_functional"), **{**call, **results})
    return results["key"], results["value"]


def _gather(
    checks: Checks,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seq_offset: torch.Tensor | None,
    is_seq_lens_cumsum: bool,
) -> None:
    """By op-plugin's GatherPaKvCacheKernelNpuOpApi.cpp and its test: what lies outside of the cache is zero."""
    checks.dims(3, key=key, value=value)
    checks.dims(2, block_tables=block_tables)
    checks.dims(1, seq_lens=seq_lens)
    checks.dtype(_INDICES, block_tables=block_tables, seq_lens=seq_lens, seq_offset=seq_offset)
    checks.same_dtype(key=key, key_cache=key_cache)
    checks.same_dtype(value=value, value_cache=value_cache)
    lengths = (seq_lens.diff() if is_seq_lens_cumsum else seq_lens).tolist()
    checks.require(
        len(lengths) <= block_tables.shape[0],
        f"{len(lengths)} sequences, but block_tables has {block_tables.shape[0]} rows",
    )
    checks.require(key.shape[0] == value.shape[0], f"key has {key.shape[0]} tokens, value {value.shape[0]}")
    starts = [0] * len(lengths) if seq_offset is None else seq_offset.tolist()
    fractal = format_of(key_cache) == FRACTAL_NZ
    for name, cache, result in (("key", key_cache, key), ("value", value_cache, value)):
        rows = _rows(checks, f"{name}_cache", cache, fractal=fractal)
        checks.require(
            rows.shape[2:].numel() == result.shape[1:].numel(),
            f"{name} {list(result.shape)} does not fit {name}_cache {list(cache.shape)}",
        )
        begin = 0
        for sequence, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            # The result may have room for fewer tokens than there are.
            count = min(length, result.shape[0] - begin)
            found = _tokens(rows, block_tables[sequence, start // rows.shape[1] :], count)
            result[begin : begin + count] = found.reshape(count, *result.shape[1:])
            begin += count


def _tokens(rows: torch.Tensor, table: torch.Tensor, count: int) -> torch.Tensor:
    """The first tokens of a sequence with these blocks, zeros where it has no block or one outside of the cache."""
    needed = -(-count // rows.shape[1])
    blocks = torch.full((needed,), -1, dtype=torch.int64)
    blocks[: min(needed, table.shape[0])] = table[:needed].long()
    inside = (blocks >= 0) & (blocks < rows.shape[0])
    found = rows[blocks.masked_fill(~inside, 0)]
    found[~inside] = 0
    return found.flatten(0, 1)[:count]


@reference("npu::npu_scatter_nd_update_", as_they_lie=("input",))
def scatter_nd_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    checks = Checks("npu_scatter_nd_update_")
    # By op-plugin's page on the op.
    checks.dtype(_SCATTERED, input=input)
    checks.same_dtype(input=input, updates=updates)
    checks.dtype(_INDICES, indices=indices)
    checks.require(1 <= input.dim() <= 8, f"input has {input.dim()} dimensions; the op takes 1 to 8")
    checks.require(indices.dim() >= 2, f"indices has shape {list(indices.shape)}; at least two dimensions are needed")
    depth = indices.shape[-1]
    checks.require(
        depth <= input.dim(), f"indices has {depth} numbers for each place, but input has {input.dim()} dimensions"
    )
    checks.shape([*indices.shape[:-1], *input.shape[depth:]], updates=updates)
    sizes = torch.tensor(input.shape[:depth])
    checks.require(
        bool(((indices >= 0) & (indices < sizes)).all()),
        f"indices lie outside of input with shape {list(input.shape)}",
    )
    input[tuple(indices.long().unbind(-1))] = updates
    return input


@fake("npu::npu_scatter_nd_update_")
def scatter_nd_update_shapes(input: torch.Tensor, **_: object) -> torch.Tensor:
    return input


@fake("npu::npu_scatter_pa_kv_cache", side_effect=True)
def scatter_pa_kv_cache_shapes(**_: object) -> None:
    return None


@fake("npu::npu_scatter_pa_kv_cache_functional")
def scatter_pa_kv_cache_functional_shapes(
    key_cache: torch.Tensor, value_cache: torch.Tensor, **_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(key_cache), torch.empty_like(value_cache)


@fake("npu::npu_gather_pa_kv_cache_functional")
def gather_pa_kv_cache_functional_shapes(
    key: torch.Tensor, value: torch.Tensor, **_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(key), torch.empty_like(value)
