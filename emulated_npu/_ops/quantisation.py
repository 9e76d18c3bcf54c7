"""Quantisation to int8: npu_quantize, npu_dynamic_quant, npu_dynamic_block_quant."""

from __future__ import annotations

import torch

from emulated_npu._refusals import FLOATING, Checks

from ._reference import fake, reference

# torch hands a dtype to an argument that a schema calls an int as its number among torch's scalar types.
_INT8_NUMBERS = (1, 12)
_INT8 = (torch.int8, torch.qint8, *_INT8_NUMBERS)


@reference("npu::npu_quantize")
def quantize(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    dtype: torch.dtype | int,
    axis: int,
    div_mode: bool,
) -> torch.Tensor:
    checks = Checks("npu_quantize")
    checks.dtype(FLOATING, input=input, scales=scales)
    checks.emulated(dtype in _INT8, f"dtype {dtype} (only qint8 is)", "quantisation.py")
    checks.require(-input.dim() <= axis < input.dim(), f"axis {axis} is not one of {input.dim()} dimensions")
    along = axis % input.dim()
    if not div_mode:
        # Documented for multiplication: -2 is the axis before the last, every other number the last.
        along = input.dim() - (2 if axis == -2 else 1)
    shape = [1] * input.dim()
    shape[along] = -1
    checks.require(
        scales.numel() in (1, input.shape[along]),
        f"{scales.numel()} scales for {input.shape[along]} along axis {along}",
    )
    factor = scales.float().view(shape)
    scaled = input.float() / factor if div_mode else input.float() * factor
    if zero_points is not None:
        scaled = scaled + zero_points.float().view(shape)
    return scaled.round().clamp(-128, 127).to(torch.int8)


@fake("npu::npu_quantize")
def quantize_shapes(input: torch.Tensor, dtype: torch.dtype | int, **_: object) -> torch.Tensor:
    Checks("npu_quantize").emulated(dtype in _INT8, f"dtype {dtype} (only qint8 is)", "quantisation.py")
    return torch.empty_like(input, dtype=torch.int8)


@reference("npu::npu_dynamic_quant")
def dynamic_quant(
    input: torch.Tensor,
    smooth_scales: torch.Tensor | None,
    group_index: torch.Tensor | None,
    dst_type: torch.dtype | int | None,
    quant_mode: str = "pertoken",
    dst_type_max: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_dynamic_quant")
    checks.dtype((torch.float16, torch.bfloat16), input=input)
    checks.require(input.dim() >= 2, f"input has {input.dim()} dimensions; at least 2")
    checks.emulated(group_index is None, "group_index", "quantisation.py")
    checks.emulated(dst_type is None or dst_type in _INT8, f"dst_type {dst_type}", "quantisation.py")
    checks.emulated(quant_mode == "pertoken", f"quant_mode {quant_mode!r}", "quantisation.py")
    wide = input.float()
    if smooth_scales is not None:
        checks.shape([input.shape[-1]], smooth_scales=smooth_scales)
        wide = wide * smooth_scales.float()
    scale = wide.abs().amax(dim=-1) / 127
    safe = torch.where(scale == 0, torch.ones_like(scale), scale).unsqueeze(-1)
    return (wide / safe).round().clamp(-128, 127).to(torch.int8), scale


@fake("npu::npu_dynamic_quant")
def dynamic_quant_shapes(input: torch.Tensor, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(input, dtype=torch.int8), input.new_empty(input.shape[:-1], dtype=torch.float32)


_BLOCK = (1, 128)
"""Rows and columns of a block: the only ones that op-plugin's page on npu_dynamic_block_quant takes."""


@reference("npu::npu_dynamic_block_quant")
def dynamic_block_quant(
    x: torch.Tensor,
    min_scale: float,
    round_mode: str,
    dst_type: torch.dtype | int,
    row_block_size: int,
    col_block_size: int,
    dst_type_max: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks = Checks("npu_dynamic_block_quant")
    checks.require(x.dim() in (2, 3), f"x must be 2 or 3 dimensional, but has shape {list(x.shape)}")
    checks.dtype((torch.float16, torch.bfloat16), x=x)
    checks.require(min_scale >= 0, f"min_scale is {min_scale}; the op takes 0 and more")
    checks.require(round_mode == "rint", f"round_mode is {round_mode!r}; the op takes 'rint'")
    checks.emulated(dst_type in _INT8, f"dst_type {dst_type} (only int8 is)", "quantisation.py")
    checks.emulated(not dst_type_max, "dst_type_max", "quantisation.py")
    checks.require(
        (row_block_size, col_block_size) == _BLOCK,
        f"blocks of {row_block_size} by {col_block_size}; the op takes {_BLOCK[0]} by {_BLOCK[1]}",
    )
    columns = x.shape[-1]
    blocks = torch.nn.functional.pad(x.float(), (0, -columns % col_block_size)).unflatten(-1, (-1, col_block_size))
    scale = (blocks.abs().amax(-1) / 127).clamp(min=min_scale)
    safe = torch.where(scale == 0, torch.ones_like(scale), scale).unsqueeze(-1)
    rounded = (blocks / safe).round().clamp(-127, 127).to(torch.int8)
    return rounded.flatten(-2)[..., :columns].contiguous(), scale


@fake("npu::npu_dynamic_block_quant")
def dynamic_block_quant_shapes(
    x: torch.Tensor, row_block_size: int, col_block_size: int, **_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = [*x.shape[:-2], -(-x.shape[-2] // row_block_size), -(-x.shape[-1] // col_block_size)]
    return torch.empty_like(x, dtype=torch.int8), x.new_empty(shape, dtype=torch.float32)
