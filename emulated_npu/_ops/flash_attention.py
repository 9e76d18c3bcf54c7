"""Attention over packed sequences: the ATB flash attention ops and npu_fusion_attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from emulated_npu import _streams
from emulated_npu._refusals import FLOATING, HALF_PRECISION, Checks

from ._layouts import to_bsnd
from ._reference import fake, reference
from ._softmax_attention import Attended, attend
from ._sparse_modes import BAND, DEFAULT, LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, masked

LARGEST_ATB_HEAD = 576
LARGEST_FUSION_HEAD = 768
MOST_FUSION_HEADS = 256
MOST_FUSION_SEQUENCES = 1024
STATISTICS = 8
"""npu_fusion_attention repeats each softmax statistic this often in its last dimension."""


@reference("atb::_npu_flash_attention_unpad", host=("seq_len",))
def flash_attention_unpad(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    _packed("_npu_flash_attention_unpad", query, key, value, None, seq_len, scale_value, num_heads, num_kv_heads, out)


@reference("atb::_npu_flash_attention_unpad_v2", host=("seq_len",))
def flash_attention_unpad_v2(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    kernel_type: int | None,
    out: torch.Tensor,
) -> None:
    op = "_npu_flash_attention_unpad_v2"
    # op-plugin, SelfAttentionUnpadAtbV2.cpp: KERNELTYPE_DEFAULT and KERNELTYPE_EXP_M8V2.
    Checks(op).require(
        kernel_type in (None, 0, 2),
        f"kernel_type only supports KERNELTYPE_DEFAULT(0) and KERNELTYPE_EXP_M8V2(2), but got: {kernel_type}",
    )
    _packed(op, query, key, value, None, seq_len, scale_value, num_heads, num_kv_heads, out)


@reference("atb::_npu_flash_attention", host=("seq_len",))
def flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    _packed("_npu_flash_attention", query, key, value, mask, seq_len, scale_value, num_heads, num_kv_heads, out)


def _packed(
    op: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    seq_len: torch.Tensor,
    scale: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    checks = Checks(op)
    lengths, key_lengths = _query_and_key_lengths(checks, seq_len)
    checks.dims(2, 3, query=query, key=key, value=value)
    checks.dtype(HALF_PRECISION, query=query, key=key, value=value, out=out)
    checks.same_dtype(query=query, key=key, value=value, out=out)
    checks.grouped_heads(num_heads, num_kv_heads)
    expected_out = list(query.shape)
    query = _by_head(checks, "query", query, num_heads)
    key, value = _by_head(checks, "key", key, num_kv_heads), _by_head(checks, "value", value, num_kv_heads)
    tokens, heads, size = query.shape
    checks.require(heads == num_heads, f"query has {heads} heads, but num_heads is {num_heads}")
    checks.require(
        sum(lengths) == tokens,
        f"the lengths in seq_len add up to {sum(lengths)}, but there are {tokens} tokens; "
        "seq_len is one length per sequence, not cumulative",
    )
    keys = sum(key_lengths)
    for name, tensor in (("key", key), ("value", value)):
        checks.require(
            tensor.shape[0] == keys and tensor.shape[1] == num_kv_heads,
            f"{name} has shape {list(tensor.shape)}; expected {keys} tokens and {num_kv_heads} heads (num_kv_heads)",
        )
    for name, tensor in (("query", query), ("value", value)):
        checks.require(
            0 < tensor.shape[2] <= LARGEST_ATB_HEAD,
            f"{name} has head size {tensor.shape[2]}; the op takes 1 to {LARGEST_ATB_HEAD}",
        )
    checks.require(key.shape[2] == size, f"key has head size {key.shape[2]}, query {size}")
    checks.contiguous(out=out)
    # As ATB infers it: the query's shape, with the size of the value.
    expected_out[-1] = value.shape[2] if len(expected_out) == 3 else num_heads * value.shape[2]
    checks.shape(expected_out, out=out)
    result = out.view(tokens, num_heads, value.shape[2])
    spans = zip(_spans(lengths), _spans(key_lengths), strict=True)
    for index, ((start, stop), (first, last)) in enumerate(spans):
        hidden = _norm_mask(checks, mask, index, stop - start) if mask is not None else None
        attended = attend(query[start:stop], key[first:last], value[first:last], scale, masked=hidden)
        result[start:stop] = attended.output.to(out.dtype)


def _query_and_key_lengths(checks: Checks, seq_len: torch.Tensor) -> tuple[list[int], list[int]]:
    """The lengths of each sequence's queries and keys: [batch] for both, or [2, batch]."""
    if seq_len.dim() != 2 or seq_len.shape[0] != 2:
        lengths = checks.host_lengths("seq_len", seq_len)
        return lengths, lengths
    return checks.host_lengths("seq_len", seq_len[0]), checks.host_lengths("seq_len", seq_len[1])


def _by_head(checks: Checks, name: str, tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[tokens, heads, size], of that or of [tokens, heads x size]."""
    if tensor.dim() == 3:
        return tensor
    checks.require(
        tensor.shape[1] % heads == 0, f"{name} has hidden size {tensor.shape[1]}, not a multiple of {heads} heads"
    )
    return tensor.unflatten(1, (heads, tensor.shape[1] // heads))


def _norm_mask(checks: Checks, mask: torch.Tensor, sequence: int, length: int) -> torch.Tensor:
    """ATB's "norm" mask hides where it holds 1 or a large negative number; other numbers would be a bias."""
    plane = mask[sequence if mask.shape[0] > 1 else 0] if mask.dim() == 3 else mask
    checks.require(
        plane.dim() == 2 and min(plane.shape) >= length,
        f"mask {list(mask.shape)} does not cover a sequence of {length}",
    )
    plane = plane[:length, :length]
    hides = (plane == 1) | (plane <= -10000)
    checks.emulated(bool((hides | (plane == 0)).all()), "a mask that is a bias", "flash_attention.py")
    return hides


def _spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for length in lengths:
        spans.append((start, start + length))
        start += length
    return spans


_BAND_AFTER_CAUSAL, _BAND_BEFORE_CAUSAL = 7, 8
_FUSION_LAYOUTS = ("BSH", "SBH", "BSND", "BNSD", "TND")

FusionResult = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, int, int]


@reference("npu::npu_fusion_attention")
def fusion_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    head_num: int,
    input_layout: str,
    pse: torch.Tensor | None,
    padding_mask: torch.Tensor | None,
    atten_mask: torch.Tensor | None,
    scale: float,
    keep_prob: float,
    pre_tockens: int,
    next_tockens: int,
    inner_precise: int,
    prefix: list[int] | None,
    actual_seq_qlen: list[int] | None,
    actual_seq_kvlen: list[int] | None,
    sparse_mode: int,
    gen_mask_parallel: bool,
    sync: bool,
    softmax_layout: str = "",
    sink: torch.Tensor | None = None,
    dropout_mask: torch.Tensor | None = None,
    seed: int = 0,
    offset: int = 0,
) -> FusionResult:
    # The rules are those of op-plugin, FlashAttentionKernelNpuOpApi.cpp, and of its page on npu_fusion_attention.
    checks = Checks("npu_fusion_attention")
    _streams.refuse_while_capturing("npu_fusion_attention")
    checks.require(head_num > 0, f"head_num must > 0, but got {head_num}")
    checks.require(head_num <= MOST_FUSION_HEADS, f"head_num is {head_num}; the op takes 1 to {MOST_FUSION_HEADS}")
    checks.require(softmax_layout in ("", "TND"), "only supported softmax_layout=TND")
    checks.require(
        not softmax_layout or input_layout == "TND", "softmax_layout=TND only supported when input_layout_str=TND"
    )
    _check_fusion_sparse_mode(checks, sparse_mode, input_layout, atten_mask)
    input_layout = input_layout.upper()
    checks.require(input_layout in _FUSION_LAYOUTS, f"Unsupported input_layout: {input_layout}")
    for name, given in (
        ("pse", pse),
        ("padding_mask", padding_mask),
        ("prefix", prefix),
        ("dropout_mask", dropout_mask),
    ):
        checks.emulated(given is None, name, "flash_attention.py")
    checks.emulated(keep_prob == 1.0, f"dropout (keep_prob {keep_prob})", "flash_attention.py")
    checks.dtype(FLOATING, query=query, key=key, value=value)
    checks.same_dtype(query=query, key=key, value=value)
    checks.require(sink is None or sink.dtype == torch.float32, "sink must be float32")

    checks.dims(query.dim(), key=key, value=value)
    queries = _Packed(checks, query, head_num, input_layout)
    size = queries.tokens.shape[-1]
    kv_heads = _key_heads(checks, key, size, input_layout)
    checks.grouped_heads(head_num, kv_heads)
    keys = _Packed(checks, key, kv_heads, input_layout)
    values = _Packed(checks, value, kv_heads, input_layout)
    value_size = values.tokens.shape[-1]
    checks.require(
        keys.tokens.shape[-1] == size and value_size <= size <= LARGEST_FUSION_HEAD,
        f"head sizes are {size}, {keys.tokens.shape[-1]} and {value_size}: query and key must have the same, "
        f"at most {LARGEST_FUSION_HEAD}, and value none larger",
    )
    if input_layout == "TND":
        query_lengths = _ends(checks, "actual_seq_qlen", actual_seq_qlen, query.shape[0])
        key_lengths = _ends(checks, "actual_seq_kvlen", actual_seq_kvlen, key.shape[0])
        checks.require(
            len(query_lengths) == len(key_lengths),
            f"actual_seq_qlen has {len(query_lengths)} entries, actual_seq_kvlen {len(key_lengths)}",
        )
    else:
        query_lengths, key_lengths = queries.lengths, keys.lengths
        checks.require(
            len(query_lengths) == len(key_lengths),
            f"query has {len(query_lengths)} sequences, key {len(key_lengths)}",
        )

    attended: list[Attended] = []
    spans = zip(_spans(query_lengths), _spans(key_lengths), strict=True)
    for index, ((start, stop), (key_start, key_stop)) in enumerate(spans):
        hidden = masked(
            checks,
            atten_mask,
            _mode_of_sequence(sparse_mode, atten_mask, index, query_lengths),
            sequence=index,
            queries=stop - start,
            keys=key_stop - key_start,
            before=pre_tockens,
            after=next_tockens,
        )
        attended.append(
            attend(
                queries.tokens[start:stop],
                keys.tokens[key_start:key_stop],
                values.tokens[key_start:key_stop],
                scale,
                masked=hidden,
                sink=sink,
            )
        )
    score, maximum, total, nothing = _fusion_outputs(query, value_size, head_num, input_layout)
    target = to_bsnd(score, head_num, input_layout)
    target.copy_(_with_tokens_left_out([each.output for each in attended], queries.tokens).view(target.shape))
    for statistic, tensor in ((maximum, "maximum"), (total, "total")):
        flat = _with_tokens_left_out([getattr(each, tensor) for each in attended], queries.tokens)
        _write_statistic(statistic, flat, query_lengths, input_layout, softmax_layout)
    pairs = sum(a * b for a, b in zip(query_lengths, key_lengths, strict=True))
    return score, maximum, total, nothing, 0, 0, head_num * pairs


def _check_fusion_sparse_mode(
    checks: Checks, sparse_mode: int, input_layout: str, atten_mask: torch.Tensor | None
) -> None:
    packed = input_layout == "TND"
    allowed = (0, 1, 2, 3, 4, 6, 7, 8) if packed else (0, 1, 2, 3, 4, 5, 6)
    interval = "[0,5) or (5,8]" if packed else "[0,6]"
    checks.require(
        sparse_mode in allowed, f"The sparse_mode value must be in range of {interval}, but got {sparse_mode}"
    )
    if atten_mask is not None:
        checks.require(
            atten_mask.dtype in (torch.bool, torch.uint8), f"atten_mask is {atten_mask.dtype}; the op takes bool, uint8"
        )
        checks.emulated(sparse_mode not in (5, 6), f"sparse_mode {sparse_mode}", "flash_attention.py")


def _mode_of_sequence(sparse_mode: int, atten_mask: torch.Tensor | None, index: int, lengths: list[int]) -> int:
    """The mode for one sequence: without a mask the op computes in full, whatever sparse_mode says.

    Modes 7 and 8 are for a sequence that was cut between devices: the last or the first one is a band, others causal.
    """
    if atten_mask is None:
        return DEFAULT
    if sparse_mode == _BAND_AFTER_CAUSAL:
        last = max(position for position, length in enumerate(lengths) if length or position == 0)
        return BAND if index == last else RIGHT_DOWN_CAUSAL
    if sparse_mode == _BAND_BEFORE_CAUSAL:
        return BAND if index == 0 else LEFT_UP_CAUSAL
    return sparse_mode


def _with_tokens_left_out(results: list[torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """The results of all sequences, and not-a-number for the tokens of those that take no part: the op leaves them."""
    computed = torch.cat(results)
    left = tokens.shape[0] - computed.shape[0]
    return torch.cat([computed, torch.full((left, *computed.shape[1:]), math.nan)]) if left else computed


@fake("npu::npu_fusion_attention")
def fusion_attention_shapes(
    query: torch.Tensor, value: torch.Tensor, key: torch.Tensor, head_num: int, input_layout: str, **_: object
) -> FusionResult:
    if input_layout in ("BSH", "SBH"):
        size = query.shape[2] // head_num
        value_size = value.shape[2] // (key.shape[2] // size) if size and key.shape[2] else 0
    else:
        value_size = value.shape[-1]
    return (*_fusion_outputs(query, value_size, head_num, input_layout), 0, 0, 0)


def _fusion_outputs(
    query: torch.Tensor, value_size: int, head_num: int, layout: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    if layout == "TND":
        statistics = [query.shape[0], query.shape[1], STATISTICS]
    else:
        batch, length = _BATCH_AND_SEQUENCE[layout]
        statistics = [query.shape[batch], head_num, query.shape[length], STATISTICS]
    shape = list(query.shape)
    shape[-1] = head_num * value_size if layout in ("BSH", "SBH") else value_size
    return (
        query.new_empty(shape),
        query.new_empty(statistics, dtype=torch.float32),
        query.new_empty(statistics, dtype=torch.float32),
        query.new_empty([0]),
    )


# Which dimensions of a layout they are.
_BATCH_AND_SEQUENCE = {"BSH": (0, 1), "SBH": (1, 0), "BSND": (0, 1), "BNSD": (0, 2)}


class _Packed:
    """A tensor of any layout as packed tokens [all tokens, heads, size], sequence after sequence."""

    def __init__(self, checks: Checks, tensor: torch.Tensor, heads: int, layout: str) -> None:
        checks.dims(4 if layout in ("BSND", "BNSD") else 3, **{f"a {layout} tensor": tensor})
        if layout in ("BSH", "SBH"):
            checks.require(
                tensor.shape[2] % heads == 0, f"hidden size {tensor.shape[2]} is not divisible by {heads} heads"
            )
        by_batch = to_bsnd(tensor, heads, layout)
        checks.require(by_batch.shape[2] == heads, f"a {layout} tensor has {by_batch.shape[2]} heads, expected {heads}")
        self.tokens = by_batch.flatten(0, 1)
        self.lengths = [by_batch.shape[1]] * by_batch.shape[0]


def _key_heads(checks: Checks, key: torch.Tensor, size: int, layout: str) -> int:
    if layout in ("BSH", "SBH"):
        checks.require(key.shape[2] % size == 0, f"key has hidden size {key.shape[2]}, not a multiple of {size}")
        return int(key.shape[2]) // size
    return int(key.shape[1 if layout in ("BNSD", "TND") else 2])


def _ends(checks: Checks, name: str, ends: list[int] | None, tokens: int) -> list[int]:
    if not ends:
        raise checks.refuse(f"For TND layout, actual_seq_qlen and actual_seq_kvlen must be provided ({name} is not)")
    # Trailing zeros mean sequences that take no part.
    taking_part = len(ends)
    while taking_part > 1 and ends[taking_part - 1] == 0:
        taking_part -= 1
    some_left_out = taking_part < len(ends)
    total = ends[taking_part - 1] if some_left_out and ends[taking_part - 1] <= tokens else tokens
    lengths = checks.cumulative(name, ends[:taking_part], total=total, limit=MOST_FUSION_SEQUENCES)
    return lengths + [0] * (len(ends) - taking_part)


def _write_statistic(
    statistic: torch.Tensor, flat: torch.Tensor, lengths: list[int], layout: str, softmax_layout: str
) -> None:
    """Write [all tokens, heads] to where the layout wants it, repeated in the last dimension."""
    repeated = flat.unsqueeze(-1).expand(*flat.shape, STATISTICS)
    if layout != "TND":
        batch = len(lengths)
        statistic.copy_(repeated.unflatten(0, (batch, -1)).transpose(1, 2))
    elif softmax_layout == "TND":
        statistic.copy_(repeated)
    else:
        # Documented order is heads first, in memory that is described as [tokens, heads, 8] all the same.
        statistic.view(flat.shape[1], flat.shape[0], STATISTICS).copy_(repeated.transpose(0, 1))
