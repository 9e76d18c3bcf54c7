"""Matrix products and merging of partial attention: npu_transpose_batchmatmul, npu_attention_update."""

from __future__ import annotations

import torch

from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference


def _permutations(
    checks: Checks, perm_x1: list[int] | None, perm_x2: list[int] | None, perm_y: list[int] | None
) -> tuple[list[int], list[int]]:
    x1, x2, y = list(perm_x1 or (0, 1, 2)), list(perm_x2 or (0, 1, 2)), list(perm_y or (1, 0, 2))
    checks.require(x1 in ([0, 1, 2], [1, 0, 2]), f"perm_x1 should be [0, 1, 2] or [1, 0, 2], but is {x1}")
    checks.require(x2 in ([0, 1, 2], [0, 2, 1]), f"perm_x2 should be [0, 1, 2] or [0, 2, 1], but is {x2}")
    checks.require(y == [1, 0, 2], f"perm_y should be [1, 0, 2], but is {y}")
    return x1, x2


@reference("npu::npu_transpose_batchmatmul")
def transpose_batchmatmul(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scale: torch.Tensor | None,
    perm_x1: list[int] | None,
    perm_x2: list[int] | None,
    perm_y: list[int] | None,
    batch_split_factor: int | None,
) -> torch.Tensor:
    checks = Checks("npu_transpose_batchmatmul")
    first, second = _permutations(checks, perm_x1, perm_x2, perm_y)
    checks.dims(3, input=input, weight=weight)
    checks.dtype(FLOATING, input=input, weight=weight)
    checks.same_dtype(input=input, weight=weight)
    checks.require(bias is None, "The bias is not supported in TransposeBatchMatMul")
    checks.emulated(scale is None, "scale", "linear.py")
    left, right = input.permute(first), weight.permute(second)
    checks.require(
        left.shape[0] == right.shape[0] and left.shape[2] == right.shape[1],
        f"input {list(input.shape)} and weight {list(weight.shape)} do not multiply",
    )
    product = torch.bmm(left.float(), right.float()).transpose(0, 1).to(input.dtype).contiguous()
    parts = batch_split_factor or 1
    if parts == 1:
        return product
    rows, batch, columns = product.shape
    checks.require(batch % parts == 0, f"a batch of {batch} is not divisible by batch_split_factor {parts}")
    return product.view(rows, parts, batch // parts * columns).transpose(0, 1).contiguous()


@fake("npu::npu_transpose_batchmatmul")
def transpose_batchmatmul_shapes(
    input: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    perm_x1: list[int] | None,
    perm_x2: list[int] | None,
    perm_y: list[int] | None,
    batch_split_factor: int | None,
) -> torch.Tensor:
    checks = Checks("npu_transpose_batchmatmul")
    first, second = _permutations(checks, perm_x1, perm_x2, perm_y)
    checks.require(bias is None, "The bias is not supported in TransposeBatchMatMul")
    batch, rows, columns = input.shape[first[0]], input.shape[first[1]], weight.shape[second[2]]
    parts = batch_split_factor or 1
    shape = [rows, batch, columns] if parts == 1 else [parts, rows, batch * columns // parts]
    return input.new_empty(shape)


@reference("npu::npu_attention_update")
def attention_update(
    lse: list[torch.Tensor], local_out: list[torch.Tensor], update_type: int
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_attention_update")
    checks.require(0 < len(lse) == len(local_out), f"{len(lse)} lse for {len(local_out)} local_out")
    checks.require(update_type in (0, 1), f"update_type {update_type} is not 0 or 1")
    for part, output in zip(lse, local_out, strict=True):
        checks.dtype((torch.float32,), lse=part)
        checks.dtype(FLOATING, local_out=output)
        checks.dims(1, lse=part)
        checks.dims(2, local_out=output)
        checks.require(part.shape[0] == output.shape[0], "lse and local_out have different numbers of rows")
    logs = torch.stack(lse)
    together = torch.logsumexp(logs, dim=0)
    weights = torch.exp(logs - together).unsqueeze(-1)
    merged = (torch.stack([output.float() for output in local_out]) * weights).sum(dim=0)
    return merged.to(local_out[0].dtype), together


@fake("npu::npu_attention_update")
def attention_update_shapes(
    lse: list[torch.Tensor], local_out: list[torch.Tensor], update_type: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(local_out[0]), torch.empty_like(lse[0])
