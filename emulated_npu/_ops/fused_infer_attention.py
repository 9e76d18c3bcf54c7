"""npu_fused_infer_attention_score, its second version, their out variants and workspace queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emulated_npu._refusals import HALF_PRECISION, Checks

from ._layouts import to_bsnd
from ._reference import fake, reference
from ._softmax_attention import attend
from ._sparse_modes import BAND, LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, masked

# input_layout -> (layout of query, key and value; layout of the output)
LAYOUTS = {
    "BSH": ("BSH", "BSH"),
    "BSND": ("BSND", "BSND"),
    "BNSD": ("BNSD", "BNSD"),
    "TND": ("TND", "TND"),
    "NTD": ("NTD", "NTD"),
    "NSD": ("NSD", "NSD"),
    "BNSD_BSND": ("BNSD", "BSND"),
    "BSH_BNSD": ("BSH", "BNSD"),
    "BSND_BNSD": ("BSND", "BNSD"),
    "NTD_TND": ("NTD", "TND"),
    "BSH_NBSD": ("BSH", "NBSD"),
    "BSND_NBSD": ("BSND", "NBSD"),
    "BNSD_NBSD": ("BNSD", "NBSD"),
    "TND_NTD": ("TND", "NTD"),
}
DIMENSIONS = {"BSH": 3, "BSND": 4, "BNSD": 4, "TND": 3, "NTD": 3, "NSD": 3}
PACKED = ("TND", "NTD")

MOST_SEQUENCES = 4096
LARGEST_HEAD = 512
LARGEST_GROUP = 64
MOST_HEADS = 256
LATENT_SIZE = 512
ROPE_SIZE = 64
LATENT_HEADS = (1, 2, 4, 8, 16, 32, 64, 128)
LATENT_SPARSE_MODES = (0, 3, 4)
PACKED_HEAD_SIZES = ((128, 128), (192, 128), (192, 192), (64, 64))
"""(query and key, value) without rope, for packed layouts. 64 is not in the documentation; released vllm-ascend
calls the op with it on every generation of the device, and pads what lies between 64 and 128."""

WORKSPACE_BYTES = 32
"""The emulated op needs no workspace; callers only carry it from the query to the out variant."""

AS_THEY_LIE = ("key", "value", "key_rope")
"""What the op reads without making it contiguous."""

_QUANTISATION = [
    *("dequant_scale1", "quant_scale1", "dequant_scale2", "quant_scale2", "quant_offset2"),
    *("antiquant_scale", "antiquant_offset", "key_antiquant_scale", "key_antiquant_offset"),
    *("value_antiquant_scale", "value_antiquant_offset", "key_rope_antiquant_scale"),
    *("dequant_scale_query", "dequant_scale_key", "dequant_offset_key", "dequant_scale_value"),
    *("dequant_offset_value", "dequant_scale_key_rope", "quant_scale_out", "quant_offset_out", "quant_scale_p"),
]
_NOT_EMULATED = ["pse_shift", "query_padding_size", "kv_padding_size", "key_shared_prefix", "value_shared_prefix"]

# The second version's names of what the first version has too.
_FIRST_NAMES = {
    "actual_seq_qlen": "actual_seq_lengths",
    "actual_seq_kvlen": "actual_seq_lengths_kv",
    "num_query_heads": "num_heads",
    "softmax_scale": "scale",
    "return_softmax_lse": "softmax_lse_flag",
}

Pair = tuple[torch.Tensor, torch.Tensor]


@reference("npu::npu_fused_infer_attention_score", as_they_lie=AS_THEY_LIE)
def fused_infer_attention_score(**call: Any) -> Pair:
    return _compute(Checks("npu_fused_infer_attention_score"), call)


@reference("npu::npu_fused_infer_attention_score_v2", as_they_lie=AS_THEY_LIE)
def fused_infer_attention_score_v2(**call: Any) -> Pair:
    return _compute(Checks("npu_fused_infer_attention_score_v2"), _with_first_names(call))


@reference("npu::npu_fused_infer_attention_score.out", as_they_lie=AS_THEY_LIE)
def fused_infer_attention_score_out(workspace: torch.Tensor | None, out: list[torch.Tensor], **call: Any) -> Pair:
    return _compute_into(Checks("npu_fused_infer_attention_score.out"), out, call)


@reference("npu::npu_fused_infer_attention_score_v2.out", as_they_lie=AS_THEY_LIE)
def fused_infer_attention_score_v2_out(workspace: torch.Tensor | None, out: list[torch.Tensor], **call: Any) -> Pair:
    return _compute_into(Checks("npu_fused_infer_attention_score_v2.out"), out, _with_first_names(call))


@reference(
    "npu::_npu_fused_infer_attention_score_get_max_workspace",
    "npu::_npu_fused_infer_attention_score_v2_get_max_workspace",
    kernel=False,
)
def workspace_query(query: torch.Tensor, **call: Any) -> torch.Tensor:
    return query.new_empty(WORKSPACE_BYTES, dtype=torch.uint8)


@fake("npu::npu_fused_infer_attention_score")
def fused_infer_attention_score_shapes(**call: Any) -> Pair:
    return _outputs(Checks("npu_fused_infer_attention_score"), call)


@fake("npu::npu_fused_infer_attention_score_v2")
def fused_infer_attention_score_v2_shapes(**call: Any) -> Pair:
    return _outputs(Checks("npu_fused_infer_attention_score_v2"), _with_first_names(call))


_PROMPT_NAMES = {
    "scale_value": "scale",
    "deq_scale1": "dequant_scale1",
    "deq_scale2": "dequant_scale2",
}
_NOT_IN_PROMPT: dict[str, Any] = {
    "block_table": None,
    "block_size": 0,
    "query_rope": None,
    "key_rope": None,
    "softmax_lse_flag": False,
}


@reference("npu::npu_prompt_flash_attention", as_they_lie=AS_THEY_LIE)
def prompt_flash_attention(padding_mask: torch.Tensor | None, **call: Any) -> torch.Tensor:
    checks = Checks("npu_prompt_flash_attention")
    checks.emulated(padding_mask is None, "padding_mask", "fused_infer_attention.py")
    return _compute(checks, _from_prompt(call))[0]


@fake("npu::npu_prompt_flash_attention")
def prompt_flash_attention_shapes(padding_mask: torch.Tensor | None, **call: Any) -> torch.Tensor:
    return _outputs(Checks("npu_prompt_flash_attention"), _from_prompt(call))[0]


def _from_prompt(call: dict[str, Any]) -> dict[str, Any]:
    return _NOT_IN_PROMPT | {_PROMPT_NAMES.get(name, name): value for name, value in call.items()}


def _with_first_names(call: dict[str, Any]) -> dict[str, Any]:
    return {_FIRST_NAMES.get(name, name): value for name, value in call.items()}


def _compute_into(checks: Checks, out: list[torch.Tensor], call: dict[str, Any]) -> Pair:
    checks.require(len(out) == 2, f"out must be the output and the softmax lse, but has {len(out)} tensors")
    output, lse = _compute(checks, call)
    checks.shape(output.shape, **{"out[0]": out[0]})
    checks.same_dtype(query=call["query"], **{"out[0]": out[0]})
    out[0].copy_(output)
    if call["softmax_lse_flag"]:
        checks.shape(lse.shape, **{"out[1]": out[1]})
        out[1].copy_(lse)
    return out[0], out[1]


def _outputs(checks: Checks, call: dict[str, Any]) -> Pair:
    """The output and the lse, empty."""
    query, value, layout = call["query"], call["value"], call["input_layout"]
    heads = call["num_heads"]
    checks.require(heads > 0, f"num_heads should be greater than 0, but the actual value is {heads}")
    checks.require(layout in LAYOUTS, f"layout {layout!r} is none of {', '.join(LAYOUTS)}")
    query_layout, output_layout = LAYOUTS[layout]
    checks.require(
        query.dim() == DIMENSIONS[query_layout],
        f"query's dim should be consistent with that of Layout {layout}, but it has shape {list(query.shape)}",
    )
    value_size = _value_size(checks, value, query, query_layout, call)
    batch, length, in_query = _sizes(query, query_layout, heads)
    shapes = {
        "BSH": [batch, length, heads * value_size],
        "BSND": [batch, length, in_query, value_size],
        "BNSD": [batch, in_query, length, value_size],
        "NBSD": [in_query, batch, length, value_size],
        "TND": [length, in_query, value_size],
        "NTD": [in_query, length, value_size],
        "NSD": [in_query, length, value_size],
    }
    lse_shape = [length, in_query, 1] if query_layout in PACKED else [batch, in_query, length, 1]
    return (
        query.new_empty(shapes[output_layout]),
        query.new_empty(lse_shape if call["softmax_lse_flag"] else [0], dtype=torch.float32),
    )


def _sizes(query: torch.Tensor, layout: str, heads: int) -> tuple[int, int, int]:
    """(batch, length, heads); a packed layout is one batch of all tokens."""
    shape = query.shape
    sizes: dict[str, Any] = {
        "BSH": lambda: (shape[0], shape[1], heads),
        "BSND": lambda: (shape[0], shape[1], shape[2]),
        "BNSD": lambda: (shape[0], shape[2], shape[1]),
        "TND": lambda: (1, shape[0], shape[1]),
        "NTD": lambda: (1, shape[1], shape[0]),
        "NSD": lambda: (1, shape[1], shape[0]),
    }
    found: tuple[int, int, int] = sizes[layout]()
    return found


def _value_size(checks: Checks, value: torch.Tensor, query: torch.Tensor, layout: str, call: dict[str, Any]) -> int:
    key_heads: int = call["num_key_value_heads"] or call["num_heads"]
    paged = call["block_table"] is not None
    if paged:
        checks.dims(3, 4, 5, value=value)
    else:
        checks.require(
            value.dim() == query.dim(), "when Page Attention not enabled, value'dim should equal to query's dim!"
        )
    size: int = value.shape[-1]
    if value.dim() == 3 and (paged or layout == "BSH"):
        return size // key_heads
    return size * value.shape[2] if value.dim() == 5 else size


def _compute(checks: Checks, call: dict[str, Any]) -> Pair:
    query, key, value = call["query"], call["key"], call["value"]
    heads, layout = call["num_heads"], call["input_layout"]
    key_heads = call["num_key_value_heads"] or heads
    for name in _QUANTISATION + _NOT_EMULATED:
        checks.emulated(call.get(name) is None, name, "fused_infer_attention.py")
    checks.emulated(call.get("learnable_sink") is None, "learnable_sink", "fused_infer_attention.py")
    checks.dtype(HALF_PRECISION, query=query, key=key, value=value)
    checks.same_dtype(query=query, key=key, value=value)
    # The op copies a strided query and takes no notice of the strides of key and value.
    checks.contiguous(key=key, value=value)
    _check_heads(checks, call, heads, key_heads)
    output, lse = _outputs(checks, call)

    query_layout, output_layout = LAYOUTS[layout]
    queries = to_bsnd(query, heads, query_layout)
    checks.require(queries.shape[2] == heads, f"query has {queries.shape[2]} heads, but num_heads is {heads}")
    query_rope = _rope_part(checks, call, "query_rope")
    if query_rope is not None:
        queries = torch.cat([queries, to_bsnd(query_rope, heads, query_layout)], dim=-1)

    keys, values = _keys_and_values(checks, call, key_heads, query_layout)
    _check_head_sizes(checks, call, query_layout, query.shape[-1] if query_layout != "BSH" else query.shape[2] // heads)
    checks.require(
        not keys or keys[0].shape[-1] == queries.shape[-1],
        f"key has head size {keys[0].shape[-1] if keys else 0}, query {queries.shape[-1]}; they must be the same",
    )
    packed = query_layout in PACKED
    if packed:
        lengths = _query_lengths(checks, call["actual_seq_lengths"], queries.shape[1])
        token_spans = _spans(queries, lengths)
    else:
        lengths = _padded_lengths(
            checks, "actual_seq_lengths", call["actual_seq_lengths"], queries.shape[0], queries.shape[1]
        )
        token_spans = [queries[index, :length] for index, length in enumerate(lengths)]
    checks.require(len(keys) == len(token_spans), f"query has {len(token_spans)} sequences, key and value {len(keys)}")
    target = to_bsnd(output, heads, output_layout)
    # Rows past a sequence's own length belong to no token; the op leaves zeros there.
    target.zero_()
    log_sums = torch.zeros(target.shape[:3])
    start = 0
    for index, tokens in enumerate(token_spans):
        count = tokens.shape[0]
        attended = attend(
            tokens, keys[index], values[index], call["scale"], masked=_hidden(checks, call, index, count, keys[index])
        )
        where = (0, slice(start, start + count)) if packed else (index, slice(0, count))
        target[where] = attended.output.to(output.dtype)
        log_sums[where] = attended.log_sum_exp
        start += count
    if call["softmax_lse_flag"]:
        checks.require(not _is_latent(call), "softmax_lse is not available with latent (512) heads")
        lse.copy_(log_sums[0].unsqueeze(-1) if packed else log_sums.transpose(1, 2).unsqueeze(-1))
    return output, lse


def _check_heads(checks: Checks, call: dict[str, Any], heads: int, key_heads: int) -> None:
    """By op-plugin's page on the op: its section on limits, and for latent heads the one on MLA."""
    checks.require(max(heads, key_heads) <= MOST_HEADS, f"num_heads is {heads}; the op takes 1 to {MOST_HEADS}")
    if not _is_latent(call):
        checks.grouped_heads(heads, key_heads, LARGEST_GROUP)
        return
    checks.require(
        heads in LATENT_HEADS and key_heads == 1,
        f"with latent (512) heads there is 1 key head and num_heads is one of {LATENT_HEADS}, but got {key_heads} and "
        f"{heads}",
    )
    checks.require(
        call["sparse_mode"] in LATENT_SPARSE_MODES,
        f"with latent (512) heads sparse_mode is 0, 3 or 4, but got {call['sparse_mode']}",
    )


def _is_latent(call: dict[str, Any]) -> bool:
    return call["query_rope"] is not None and call["query"].shape[-1] == LATENT_SIZE


def _hidden(checks: Checks, call: dict[str, Any], index: int, queries: int, keys: torch.Tensor) -> torch.Tensor | None:
    mode, mask = call["sparse_mode"], call["atten_mask"]
    if queries == 1 and call.get("query_rope") is None and mode in (LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, BAND):
        # Documented: sparse_mode has no effect on a single query. The compressed mask hides nothing of it.
        return None
    return masked(
        checks,
        mask,
        mode,
        sequence=index,
        queries=queries,
        keys=keys.shape[0],
        before=call["pre_tokens"],
        after=call["next_tokens"],
    )


def _rope_part(checks: Checks, call: dict[str, Any], name: str) -> torch.Tensor | None:
    rope: torch.Tensor | None = call[name]
    other = call["key_rope" if name == "query_rope" else "query_rope"]
    checks.require((rope is None) == (other is None), "query_rope and key_rope must both be given, or neither")
    if rope is not None:
        base = call["query" if name == "query_rope" else "key"]
        checks.require(rope.dtype == base.dtype, f"{name} is {rope.dtype}, but must be {base.dtype} as its base")
    return rope


def _check_head_sizes(checks: Checks, call: dict[str, Any], layout: str, size: int) -> None:
    value_size = _value_size(checks, call["value"], call["query"], layout, call)
    checks.require(size <= LARGEST_HEAD, f"head size {size} is larger than {LARGEST_HEAD}")
    if call["query_rope"] is not None:
        checks.require(size in (LATENT_SIZE, 128), f"with rope the head size must be 512 or 128, but is {size}")
        rope = call["query_rope"]
        rope_size = rope.shape[-1] // call["num_heads"] if layout == "BSH" else rope.shape[-1]
        checks.require(rope_size == ROPE_SIZE, f"query_rope has head size {rope_size}; the op takes {ROPE_SIZE}")
    elif layout in PACKED:
        checks.require(
            (size, value_size) in (PACKED_HEAD_SIZES if layout == "TND" else PACKED_HEAD_SIZES[:2]),
            f"head sizes {size} (query, key) and {value_size} (value) are not taken with {layout}; "
            "pad them to 128: " + ", ".join(f"{a} and {b}" for a, b in PACKED_HEAD_SIZES) + " are",
        )
    else:
        checks.require(size * 2 % 16 == 0, f"head size {size} is not aligned to 16 bytes")


def _query_lengths(checks: Checks, ends: Sequence[int] | None, tokens: int) -> list[int]:
    if ends is None:
        raise checks.refuse("actual_seq_lengths must be given when input_layout is TND, NTD or converts from them")
    return checks.cumulative("actual_seq_lengths", ends, total=tokens, limit=MOST_SEQUENCES)


def _padded_lengths(checks: Checks, name: str, given: Sequence[int] | None, batch: int, longest: int) -> list[int]:
    """One length per sequence of a padded layout; a single number counts for all of them."""
    if given is None or (name == "actual_seq_lengths" and longest == 1):
        return [longest] * batch
    checks.require(len(given) == 1 or len(given) >= batch, f"{name} has {len(given)} entries for {batch} sequences")
    lengths = [given[0]] * batch if len(given) == 1 else list(given[:batch])
    checks.require(
        all(0 <= length <= longest for length in lengths), f"{name} must lie in 0 to {longest}, but is {lengths}"
    )
    return lengths


def _spans(tokens: torch.Tensor, lengths: Sequence[int]) -> list[torch.Tensor]:
    return list(tokens[0].split(list(lengths)))


def _keys_and_values(
    checks: Checks, call: dict[str, Any], key_heads: int, layout: str
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Keys and values of each sequence, [keys, key heads, size]."""
    key, value, key_rope = call["key"], call["value"], _rope_part(checks, call, "key_rope")
    if call["block_table"] is not None:
        return _paged(checks, call, key_heads, layout)
    keys = to_bsnd(key, key_heads, layout)
    values = to_bsnd(value, key_heads, layout)
    checks.require(
        keys.shape[2] == values.shape[2] == key_heads,
        f"key has {keys.shape[2]} heads and value {values.shape[2]}, but num_key_value_heads is {key_heads}",
    )
    checks.require(
        keys.shape[:2] == values.shape[:2], f"key {list(key.shape)} and value {list(value.shape)} do not match"
    )
    if key_rope is not None:
        keys = torch.cat([keys, to_bsnd(key_rope, key_heads, layout)], dim=-1)
    given = call["actual_seq_lengths_kv"]
    if layout not in PACKED:
        lengths = _padded_lengths(checks, "actual_seq_lengths_kv", given, keys.shape[0], keys.shape[1])
        return (
            [keys[index, :length] for index, length in enumerate(lengths)],
            [values[index, :length] for index, length in enumerate(lengths)],
        )
    if given is None:
        raise checks.refuse(f"actual_seq_lengths_kv must be given with {layout}")
    lengths = checks.cumulative("actual_seq_lengths_kv", given, total=keys.shape[1], limit=MOST_SEQUENCES)
    return _spans(keys, lengths), _spans(values, lengths)


def _paged(
    checks: Checks, call: dict[str, Any], key_heads: int, layout: str
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    table, lengths, block_size = call["block_table"], call["actual_seq_lengths_kv"], call["block_size"]
    checks.dims(2, block_table=table)
    checks.dtype((torch.int32,), block_table=table)
    checks.require(block_size > 0, f"block_size must be given with a block_table, but is {block_size}")
    _check_block_size(checks, call, layout)
    if lengths is None:
        raise checks.refuse("actual_seq_lengths_kv must be given with a block_table")
    batch = table.shape[0] if layout in PACKED else call["query"].shape[0]
    if len(lengths) == 1:
        lengths = list(lengths) * batch
    checks.require(
        len(lengths) >= batch and table.shape[0] >= batch,
        f"{batch} sequences, but {table.shape[0]} rows of block_table and {len(lengths)} actual_seq_lengths_kv",
    )
    key_blocks = _blocks(checks, "key", call["key"], key_heads, block_size)
    value_blocks = _blocks(checks, "value", call["value"], key_heads, block_size)
    if call["key_rope"] is not None:
        rope_blocks = _blocks(checks, "key_rope", call["key_rope"], key_heads, block_size)
        key_blocks = torch.cat([key_blocks, rope_blocks], dim=-1)
    keys, values = [], []
    sequences = len(call["actual_seq_lengths"]) if layout in PACKED and call["actual_seq_lengths"] else batch
    for index in range(sequences):
        count = -(-lengths[index] // block_size)
        checks.require(
            lengths[index] >= 0 and count <= table.shape[1],
            f"sequence {index} has {lengths[index]} keys, more than {table.shape[1]} blocks of {block_size}",
        )
        blocks = table[index, :count].long()
        keys.append(key_blocks[blocks].flatten(0, 1)[: lengths[index]])
        values.append(value_blocks[blocks].flatten(0, 1)[: lengths[index]])
    return keys, values


def _check_block_size(checks: Checks, call: dict[str, Any], layout: str) -> None:
    """By op-plugin's page on the op, in its sections on PageAttention, MLA and TND."""
    size: int = call["block_size"]
    if _is_latent(call) or layout in PACKED:
        checks.require(
            size % 16 == 0 and size <= 1024, f"block_size is {size}; it must be a multiple of 16, at most 1024"
        )
        return
    longest = call["query"].shape[2 if layout == "BNSD" else 1]
    if longest > 1:
        checks.require(
            size % 128 == 0 and size <= 512,
            f"block_size is {size}; with more than one query token it must be a multiple of 128, at most 512",
        )
    else:
        checks.require(
            size % 16 == 0 and size <= 512,
            f"block_size is {size}; with one query token it must be a multiple of 16, at most 512",
        )
    for name in ("key", "value"):
        checks.require(
            layout == "BNSD" or call[name].dim() != 4,
            f"{name} has shape {list(call[name].shape)}; with {layout} a cache is [blocks, block size, heads x size]",
        )


def _blocks(checks: Checks, name: str, cache: torch.Tensor, key_heads: int, block_size: int) -> torch.Tensor:
    """A cache of any documented layout as [blocks, block size, key heads, size]."""
    checks.dims(3, 4, 5, **{name: cache})
    if cache.dim() == 3:
        checks.require(
            cache.shape[1] == block_size and cache.shape[2] % key_heads == 0,
            f"{name} {list(cache.shape)} is not [blocks, {block_size}, {key_heads} x size]",
        )
        return cache.unflatten(2, (key_heads, cache.shape[2] // key_heads))
    axis = 2 if cache.dim() == 4 else 3
    checks.require(
        cache.shape[1] == key_heads and cache.shape[axis] == block_size,
        f"{name} {list(cache.shape)} does not have {key_heads} heads and blocks of {block_size}",
    )
    if cache.dim() == 4:
        return cache.transpose(1, 2)
    # FRACTAL_NZ: [blocks, heads, size / 16, block size, 16]
    return cache.permute(0, 3, 1, 2, 4).flatten(3, 4)
