"""Learned position embeddings of a square, stretched over each image: for all images of an encoder call at once.

Where each patch lies among the learned positions depends on the image's size alone, so it is worked out on the host and
kept; the device gathers, weighs and adds once, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from einops import rearrange

Grid = Sequence[int]
"""Frames, rows and columns of an image or video, in patches."""


class Places(NamedTuple):
    """Where the patches of images lie among the learned positions: on the host, or copied to the device."""

    indices: torch.Tensor
    """The four learned positions around each patch of each size, [4, patches]."""
    weights: torch.Tensor
    """Theirs, [4, patches, 1]."""
    order: torch.Tensor
    """Which patch of the sizes each patch of the images is; empty where they are the same."""


def places(side: int, merge: int, dtype: torch.dtype, grids: Sequence[Grid]) -> Places:
    """Of images, on the host, in a square of side * side positions; merged patches are neighbours."""
    return _places(side, merge, dtype, grids, in_turn=False)


def places_in_turn(side: int, merge: int, dtype: torch.dtype, grids: Sequence[Grid]) -> Places:
    """The same, with weights rounded as Qwen3-Omni rounds them."""
    return _places(side, merge, dtype, grids, in_turn=True)


def _places(side: int, merge: int, dtype: torch.dtype, grids: Sequence[Grid], *, in_turn: bool) -> Places:
    sizes = list(dict.fromkeys((rows, columns) for _, rows, columns in grids))
    indices, weights = zip(*(_corners(rows, columns, side, merge, in_turn) for rows, columns in sizes), strict=True)
    alike = [(1, *size) for size in sizes] == [tuple(grid) for grid in grids]
    order = torch.empty(0, dtype=torch.int64, device="cpu") if alike else _patches(sizes, grids)
    return Places(torch.cat(indices, dim=1), torch.cat(weights, dim=1).to(dtype), order)


def interpolated(table: torch.Tensor, at: Places, dtype: torch.dtype) -> torch.Tensor:
    """[patches, width]: bilinear in a table of learned positions."""
    embeddings = table[at.indices]
    embeddings *= at.weights
    return _of_images(embeddings.sum(dim=0).to(dtype), at)


def interpolated_in_turn(table: torch.Tensor, at: Places) -> torch.Tensor:
    """The same, added up one after the other, as Qwen3-Omni does."""
    embeddings = table[at.indices]
    embeddings *= at.weights
    first, second, third, fourth = embeddings.unbind(dim=0)
    return _of_images(first + second + third + fourth, at)


def _of_images(by_size: torch.Tensor, at: Places) -> torch.Tensor:
    return by_size.index_select(0, at.order) if at.order.numel() else by_size


@lru_cache(maxsize=256)
def _corners(rows: int, columns: int, side: int, merge: int, in_turn: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """For each patch the four learned positions around it, [4, patches], and their weights, [4, patches, 1]."""
    above, below, down = _between(rows, side)
    left, right, along = _between(columns, side)
    down, along = down[:, None], along[None, :]
    # In this order, and in float32: rounded otherwise, the numbers would not be those of the releases.
    both = down * along
    only_down, only_along = down - both, along - both
    neither = 1 - down - along + both if in_turn else 1 - down - only_along
    indices = [top[:, None] * side + edge[None, :] for top in (above, below) for edge in (left, right)]
    by_place = torch.arange(rows * columns, device="cpu").view(rows, columns)
    order = rearrange(by_place, "(row down) (column along) -> (row column down along)", down=merge, along=merge)
    return (
        torch.stack(indices).flatten(1)[:, order],
        torch.stack((neither, only_along, only_down, both)).flatten(1)[:, order].unsqueeze(2),
    )


def _between(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each of so many patches along an edge: the learned position before it, the one behind it, and how far on."""
    place = torch.linspace(0, side - 1, count, dtype=torch.float32, device="cpu")
    before = place.long()
    return before, (before + 1).clamp(max=side - 1), place - before


def _patches(sizes: list[tuple[int, int]], grids: Sequence[Grid]) -> torch.Tensor:
    """Which of the patches of all sizes stands where: images of one size share theirs, frames repeat them."""
    starts, start = {}, 0
    for rows, columns in sizes:
        starts[rows, columns] = start
        start += rows * columns
    of_sizes = {size: torch.arange(begin, begin + size[0] * size[1], device="cpu") for size, begin in starts.items()}
    return torch.cat([of_sizes[rows, columns] for frames, rows, columns in grids for _ in range(frames)])
