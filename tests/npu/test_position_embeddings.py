"""Interpolated position embeddings: right by a float64 reference, and independent of what else is in the call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import emulated_npu
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.position_embeddings import (
    Grid,
    Places,
    interpolated,
    interpolated_in_turn,
    places,
    places_in_turn,
)

SIDE, MERGE, WIDTH = 6, 2, 8
GRIDS = [(1, 4, 6), (2, 8, 4), (1, 2, 2), (1, 4, 6)]


@pytest.fixture
def table() -> torch.Tensor:
    return torch.randn(SIDE * SIDE, WIDTH, generator=torch.Generator().manual_seed(5))


def embedded(table: torch.Tensor, dtype: torch.dtype, grids: Sequence[Grid]) -> torch.Tensor:
    at = Places(*to_device(table.device, *places(SIDE, MERGE, dtype, grids)))
    return interpolated(table, at, dtype)


def reference(table: torch.Tensor, frames: int, rows: int, columns: int) -> torch.Tensor:
    """Patch by patch, in float64."""
    square = table.double().view(SIDE, SIDE, WIDTH)
    patches = []
    for row in range(0, rows, MERGE):
        for column in range(0, columns, MERGE):
            patches += [at(square, row + y, column + x, rows, columns) for y in range(MERGE) for x in range(MERGE)]
    return torch.stack(patches).repeat(frames, 1)


def at(square: torch.Tensor, row: int, column: int, rows: int, columns: int) -> torch.Tensor:
    down, along = row * (SIDE - 1) / (rows - 1), column * (SIDE - 1) / (columns - 1)
    top, left = int(down), int(along)
    bottom, right = min(top + 1, SIDE - 1), min(left + 1, SIDE - 1)
    down, along = down - top, along - left
    above = square[top, left] * (1 - along) + square[top, right] * along
    below = square[bottom, left] * (1 - along) + square[bottom, right] * along
    return above * (1 - down) + below * down


def test_every_patch_is_between_the_learned_positions_around_it(table: torch.Tensor) -> None:
    expected = torch.cat([reference(table, *grid) for grid in GRIDS])
    result = embedded(table.to("npu"), torch.float32, GRIDS)
    torch.testing.assert_close(result.cpu().double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_together_have_the_bits_of_images_alone(table: torch.Tensor, dtype: torch.dtype) -> None:
    on_device = table.to(dtype).to("npu")
    alone = torch.cat([embedded(on_device, dtype, [grid]).cpu() for grid in GRIDS])
    assert torch.equal(embedded(on_device, dtype, GRIDS).cpu(), alone)


def test_the_number_of_images_does_not_change_the_number_of_kernels(table: torch.Tensor) -> None:
    on_device, counts = table.to("npu"), []
    for grids in ([(1, 4, 6), (1, 2, 4)], [(1, 2 * count, 4) for count in range(1, 9)]):
        with emulated_npu.record() as log:
            embedded(on_device, torch.float32, grids)
        counts.append((log.kernels, len(log.device_to_host)))
    assert counts[0] == counts[1] == (counts[0][0], 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_turn_the_four_are_added_one_after_the_other_in_the_model_s_type(
    table: torch.Tensor, dtype: torch.dtype
) -> None:
    at, learned = places_in_turn(SIDE, MERGE, dtype, GRIDS[:1]), table.to(dtype)
    parts = [learned[indices] * weights for indices, weights in zip(at.indices, at.weights, strict=True)]
    expected = ((parts[0] + parts[1]) + parts[2]) + parts[3]
    there = Places(*to_device(torch.device("npu"), *at))
    assert torch.equal(interpolated_in_turn(learned.to("npu"), there).cpu(), expected)


def test_in_turn_every_patch_is_between_the_learned_positions_around_it_too(table: torch.Tensor) -> None:
    there = Places(*to_device(torch.device("npu"), *places_in_turn(SIDE, MERGE, torch.float32, GRIDS)))
    result = interpolated_in_turn(table.to("npu"), there).cpu().double()
    torch.testing.assert_close(result, torch.cat([reference(table, *grid) for grid in GRIDS]), rtol=0, atol=2e-6)
