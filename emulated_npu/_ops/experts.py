"""Mixtures of experts: npu_moe_gating_top_k, npu_moe_gating_top_k_softmax, npu_grouped_matmul."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from emulated_npu import _accounting
from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference
from ._state import STATE

Gated = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Tensors = list[torch.Tensor] | None

MOST_EXPERTS = 2048
LARGEST_K_OF_SOFTMAX = 1024
_GROUPS_ALIGNED_TO = 32
_NOT_SPLIT, _ALONG_ROWS, _ALONG_COLUMNS = -1, 0, 2
_ENDS, _SIZES, _PAIRS = 0, 1, 2
_SEVERAL_RESULTS, _ONE_RESULT = (0, 1), (2, 3)


@reference("npu::npu_moe_gating_top_k")
def moe_gating_top_k(
    x: torch.Tensor,
    k: int,
    bias: torch.Tensor | None,
    k_group: int,
    group_count: int,
    group_select_mode: int,
    renorm: int,
    norm_type: int,
    out_flag: bool,
    routed_scaling_factor: float,
    eps: float,
    input_ids: torch.Tensor | None = None,
    tid2eid: torch.Tensor | None = None,
) -> Gated:
    checks = Checks("npu_moe_gating_top_k")
    checks.emulated(input_ids is None and tid2eid is None, "a table of experts by token (tid2eid)", "experts.py")
    _check_gating(checks, x, k, bias, k_group, group_count, group_select_mode, renorm, norm_type)
    scores = x.float().softmax(-1) if norm_type == 0 else x.float().sigmoid()
    chosen_by = scores if bias is None else scores + bias.float()
    if group_count > 1:
        groups = chosen_by.unflatten(1, (group_count, -1))
        of_group = groups.amax(-1) if group_select_mode == 0 else groups.topk(2, dim=-1).values.sum(-1)
        left_out = torch.ones_like(of_group, dtype=torch.bool)
        left_out.scatter_(1, _largest(of_group, k_group), False)
        chosen_by = groups.masked_fill(left_out.unsqueeze(-1), -math.inf).flatten(1)
    experts = _largest(chosen_by, k)
    weights = scores.gather(1, experts)
    if norm_type == 1:
        weights = weights / (weights.sum(-1, keepdim=True) + eps)
    # Without out_flag the op leaves the third result as its memory was.
    third = scores if out_flag else torch.full_like(scores, math.nan)
    return (weights * routed_scaling_factor).to(x.dtype), experts.int(), third


def _check_gating(
    checks: Checks,
    x: torch.Tensor,
    k: int,
    bias: torch.Tensor | None,
    k_group: int,
    group_count: int,
    group_select_mode: int,
    renorm: int,
    norm_type: int,
) -> None:
    """By op-plugin's MoeGatingTopKKernelNpuOpApi.cpp and its page on the op."""
    checks.require(x.dim() == 2, f"The x should be 2D, but has shape {list(x.shape)}")
    checks.dtype(FLOATING, x=x)
    experts = x.shape[1]
    if bias is not None:
        checks.require(x.dtype == bias.dtype, f"The dtype of x and bias should be same, but {x.dtype} and {bias.dtype}")
        checks.require(bias.dim() == 1, "The bias should be 1D")
        checks.require(bias.shape[0] == experts, "The bias first dim should be same as x second dim")
    checks.require(experts <= MOST_EXPERTS, f"{experts} experts; the op takes at most {MOST_EXPERTS}")
    checks.require(group_select_mode in (0, 1), f"group_select_mode is {group_select_mode}; the op takes 0 and 1")
    checks.require(norm_type in (0, 1), f"norm_type is {norm_type}; the op takes 0 (softmax) and 1 (sigmoid)")
    checks.emulated(renorm == 0, f"renorm {renorm}", "experts.py")
    checks.require(
        group_count > 0 and experts % group_count == 0 and experts // group_count > 2,
        f"{experts} experts in {group_count} groups; each group has the same number, more than 2",
    )
    aligned = -(-(experts // group_count) // _GROUPS_ALIGNED_TO) * _GROUPS_ALIGNED_TO
    checks.require(
        aligned * group_count <= MOST_EXPERTS,
        f"{group_count} groups of {experts // group_count} experts, aligned to {_GROUPS_ALIGNED_TO}, are more than "
        f"{MOST_EXPERTS}",
    )
    checks.require(1 <= k_group <= group_count, f"k_group is {k_group}; it lies in 1 to group_count ({group_count})")
    checks.require(
        1 <= k <= experts // group_count * k_group,
        f"k is {k}; {k_group} groups have {experts // group_count * k_group} experts",
    )


def _largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Where the largest are, the first of equal ones first."""
    return values.sort(dim=-1, descending=True, stable=True).indices[..., :count]


@fake("npu::npu_moe_gating_top_k")
def moe_gating_top_k_shapes(x: torch.Tensor, k: int, **_: object) -> Gated:
    indices = x.new_empty((x.shape[0], k), dtype=torch.int32)
    return x.new_empty((x.shape[0], k)), indices, x.new_empty(x.shape, dtype=torch.float32)


@reference("npu::npu_moe_gating_top_k_softmax")
def moe_gating_top_k_softmax(x: torch.Tensor, finished: torch.Tensor | None, k: int) -> Gated:
    checks = Checks("npu_moe_gating_top_k_softmax")
    checks.require(x.dim() in (2, 3), f"The x should be 2D or 3D, but has shape {list(x.shape)}")
    checks.dtype(FLOATING, x=x)
    # By op-plugin's MoeGatingTopKSoftmaxKernelNpuOpApi.cpp, and the limit of 1024 by its page on the op.
    checks.require(0 <= k <= x.shape[-1], f"The k should be in [0, {x.shape[-1]}], but is {k}")
    checks.require(k <= LARGEST_K_OF_SOFTMAX, f"k is {k}; the op takes at most {LARGEST_K_OF_SOFTMAX}")
    if finished is not None:
        checks.require(finished.dtype == torch.bool, f"bool tensor expected but got a tensor with {finished.dtype}")
        checks.shape(x.shape[:-1], finished=finished)
    scores = x.float().softmax(-1)
    experts = _largest(scores, k)
    weights = scores.gather(-1, experts).to(x.dtype)
    if finished is not None:
        experts = experts.masked_fill(finished.unsqueeze(-1), x.shape[-1])
    rows = experts[..., 0].numel() if k else 0
    row_of = torch.arange(rows * k, dtype=torch.int32).view(k, rows).T.reshape(experts.shape)
    return weights, experts.int(), row_of


@fake("npu::npu_moe_gating_top_k_softmax")
def moe_gating_top_k_softmax_shapes(x: torch.Tensor, finished: torch.Tensor | None, k: int) -> Gated:
    shape = (*x.shape[:-1], k)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32), x.new_empty(shape, dtype=torch.int32)


def _read_group_list(
    result: object, group_list: torch.Tensor | list[int] | None, split_item: int | None, group_type: int, **_: object
) -> None:
    """For several results the op has to know their sizes, and reads a list on the device number by number."""
    if STATE.place == "npu" and isinstance(group_list, torch.Tensor) and (split_item or 0) in _SEVERAL_RESULTS:
        for index in range(group_list.shape[0]):
            _accounting.copied_to_host(group_list[index], "npu_grouped_matmul")


_QUANTISED = ("scale", "offset", "antiquant_scale", "antiquant_offset", "per_token_scale")
_RESERVED = ("activation_input", "activation_quant_scale", "activation_quant_offset")


@reference("npu::npu_grouped_matmul", after=_read_group_list)
def grouped_matmul(
    x: list[torch.Tensor],
    weight: list[torch.Tensor],
    bias: Tensors,
    group_list: torch.Tensor | None,
    split_item: int | None,
    group_type: int | None,
    group_list_type: int | None,
    act_type: int | None,
    output_dtype: torch.dtype | int | None,
    **options: object,
) -> list[torch.Tensor]:
    checks = Checks("npu_grouped_matmul")
    if group_type is None:
        raise checks.refuse("Requires manual passing group_type, current is None")
    checks.require(
        group_type in (_NOT_SPLIT, _ALONG_ROWS, _ALONG_COLUMNS),
        f"The group type must be -1, 0 or 2, but now is [{group_type}]",
    )
    checks.emulated(group_type != _ALONG_COLUMNS, "group_type 2 (split along k)", "experts.py")
    _check_options(checks, act_type, output_dtype, x, options)
    kind = group_list_type or 0
    checks.require(kind in (_ENDS, _SIZES, _PAIRS), f"group_list_type is {kind}; the op takes 0, 1 and 2")
    checks.emulated(kind != _PAIRS, "group_list_type 2 (pairs)", "experts.py")
    sizes: list[int] | None = None
    if group_list is not None:
        checks.dtype((torch.int64,), group_list=group_list)
        checks.dims(1, group_list=group_list)
        sizes = _sizes(checks, group_list.tolist(), kind)
    return _multiply(checks, x, weight, bias, sizes, split_item or 0)


@reference("npu::npu_grouped_matmul.List")
def grouped_matmul_by_list(
    x: list[torch.Tensor],
    weight: list[torch.Tensor],
    bias: Tensors,
    group_list: Sequence[int] | None,
    split_item: int | None,
    act_type: int | None,
    output_dtype: torch.dtype | int | None,
    **options: object,
) -> list[torch.Tensor]:
    checks = Checks("npu_grouped_matmul")
    _check_options(checks, act_type, output_dtype, x, options)
    sizes = _sizes(checks, list(group_list), _ENDS) if group_list else None
    return _multiply(checks, x, weight, bias, sizes, split_item or 0)


@fake("npu::npu_grouped_matmul", "npu::npu_grouped_matmul.List")
def grouped_matmul_shapes(
    x: list[torch.Tensor],
    weight: list[torch.Tensor],
    group_list: torch.Tensor | Sequence[int] | None,
    split_item: int | None,
    **_: object,
) -> list[torch.Tensor]:
    widths = [each.shape[-1] for each in weight]
    if (split_item or 0) in _ONE_RESULT:
        return [x[0].new_empty((sum(each.shape[0] for each in x), widths[0]))]
    if split_item and group_list is not None:
        ends = group_list.tolist() if isinstance(group_list, torch.Tensor) else list(group_list)
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        return [x[0].new_empty((size, widths[index % len(widths)])) for index, size in enumerate(sizes)]
    return [each.new_empty((*each.shape[:-1], widths[index % len(widths)])) for index, each in enumerate(x)]


def _check_options(
    checks: Checks,
    act_type: int | None,
    output_dtype: torch.dtype | int | None,
    x: list[torch.Tensor],
    options: dict[str, object],
) -> None:
    for name in _QUANTISED:
        checks.emulated(not options.get(name), name, "experts.py")
    for name in _RESERVED:
        checks.require(not options.get(name), f"{name} is reserved; the op takes None only")
    for name in ("x_dtype", "weight_dtype", "scale_dtype", "per_token_scale_dtype"):
        checks.emulated(options.get(name) is None, name, "experts.py")
    checks.emulated(not act_type, f"act_type {act_type}", "experts.py")
    checks.emulated(
        output_dtype is None or (bool(x) and output_dtype == x[0].dtype), f"output_dtype {output_dtype}", "experts.py"
    )


def _sizes(checks: Checks, numbers: list[int], kind: int) -> list[int]:
    """How many rows each group has, of their ends or of the sizes themselves."""
    sizes = numbers
    if kind == _ENDS:
        sizes = [end - start for start, end in zip([0, *numbers], numbers, strict=False)]
        checks.require(
            all(size >= 0 for size in sizes),
            f"group_list[i] - group_list[i - 1] should be larger than or equal to 0, but it is {numbers}",
        )
    checks.require(all(size >= 0 for size in sizes), f"group_list has negative numbers: {numbers}")
    return sizes


def _multiply(
    checks: Checks,
    x: list[torch.Tensor],
    weight: list[torch.Tensor],
    bias: Tensors,
    sizes: list[int] | None,
    split_item: int,
) -> list[torch.Tensor]:
    """By op-plugin's GroupedMatmulKernelNpuOpApi.cpp, check_dims and below, and its page on the op."""
    checks.require(bool(x) and bool(weight), "Invalid inputs: neither x nor weight could be empty")
    checks.require(
        split_item in (*_SEVERAL_RESULTS, *_ONE_RESULT),
        f"Invalid value of split_item [{split_item}], which should only be one of 0/1/2/3",
    )
    weights = list(weight[0]) if len(weight) == 1 and weight[0].dim() == 3 else weight
    biases = None if not bias else list(bias[0]) if len(bias) == 1 and bias[0].dim() == 2 else bias
    _check_operands(checks, x, weights, biases)
    if split_item in _SEVERAL_RESULTS:
        _check_lists(checks, x, weights, sizes)
    rows = x[0].split(_padded(checks, x[0], sizes)) if len(x) == 1 and sizes is not None else x
    checks.require(
        len(rows) - (sizes is not None and len(rows) > len(weights)) == len(weights),
        f"{len(sizes or x)} groups of x, but {len(weights)} weights",
    )
    results = []
    for index, factor in enumerate(weights):
        checks.require(
            rows[index].shape[-1] == factor.shape[0],
            f"x {list(rows[index].shape)} and weight {list(factor.shape)} of group {index} do not multiply",
        )
        product = rows[index].float() @ factor.float()
        results.append((product + biases[index].float() if biases else product).to(x[0].dtype))
    if split_item in _SEVERAL_RESULTS:
        return results
    whole = torch.cat(results)
    left = sum(part.shape[0] for part in x) - whole.shape[0]
    # Rows of no group are left as the memory of the result was.
    return [torch.cat([whole, whole.new_full((left, whole.shape[1]), math.nan)]) if left else whole]


def _padded(checks: Checks, x: torch.Tensor, sizes: list[int]) -> list[int]:
    """The sizes, and the rows of no group after them."""
    left = x.shape[0] - sum(sizes)
    checks.require(left >= 0, f"the groups have {sum(sizes)} rows, x {x.shape[0]}")
    return [*sizes, left] if left else sizes


def _check_operands(checks: Checks, x: list[torch.Tensor], weights: list[torch.Tensor], biases: Tensors) -> None:
    for part in x:
        checks.dtype(FLOATING, x=part)
        checks.same_dtype(x=part, weight=weights[0])
    for factor in weights:
        checks.dims(2, weight=factor)
        checks.same_dtype(weight=factor, x=x[0])
    if biases is not None:
        checks.require(len(biases) == len(weights), f"{len(biases)} bias for {len(weights)} weights")
        wanted = torch.float32 if x[0].dtype == torch.bfloat16 else x[0].dtype
        for addend, factor in zip(biases, weights, strict=True):
            checks.require(addend.dtype == wanted, f"bias is {addend.dtype}; beside x of {x[0].dtype} it is {wanted}")
            checks.shape([factor.shape[1]], bias=addend)


def _check_lists(checks: Checks, x: list[torch.Tensor], weights: list[torch.Tensor], sizes: list[int] | None) -> None:
    if sizes is not None:
        checks.require(
            len(x) == 1 and len(weights) == len(sizes),
            "Invalid inputs. When split_item = 0 or 1 and input group_list is not None, the length of x equals 1 and "
            f"the length of weight that of group_list. Actual lengths: x [{len(x)}], weight [{len(weights)}], "
            f"group_list [{len(sizes)}]",
        )
    else:
        checks.require(
            len(x) == len(weights),
            "When split_item = 0 or 1 and input group_list is None, the num of x tensors must equal the num of weight "
            f"tensors. Actual lengths: x [{len(x)}], weight [{len(weights)}]",
        )
