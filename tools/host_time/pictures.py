"""What the encoders are given: grids of patches, the same for both sides."""

from __future__ import annotations

import random

Grids = list[list[int]]

_SIZES = ((16, 16), (8, 12), (12, 16), (16, 8), (10, 14), (6, 6))
LARGEST = 32
"""Rows and columns at most: positions of more the smallest encoders have no table for."""


def repeated(images: int, *, video: bool = False) -> Grids:
    """The grids of a forward that comes again: so many pictures of a few sizes, or a video of four frames."""
    if video:
        return [[4, 16, 16]]
    return [[1, *_SIZES[index % len(_SIZES)]] for index in range(images)]


def new(images: int, seed: int, *, video: bool = False) -> Grids:
    """Grids that no forward before had; one seed gives one set of them."""
    draw = random.Random(f"{seed} {images}")

    def side() -> int:
        return 2 * draw.randint(2, LARGEST // 2)

    if video:
        return [[draw.randint(1, 4), side(), side()]]
    return [[1, side(), side()] for _ in range(images)]
