"""The row and column of every patch of images, by which encoders look up how they rotate: on the host, for all at once.

Merged patches are neighbours. Where the patches of an image lie depends on its size alone, so it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from einops import rearrange

Grids = Sequence[Sequence[int]]


def rotary_places(grids: Grids, merge: int) -> torch.Tensor:
    """[patches, 2], frame after frame."""
    return torch.cat([_of_frame(rows, columns, merge) for frames, rows, columns in grids for _ in range(frames)])


def largest_side(grids: Grids) -> int:
    return max(max(rows, columns) for _, rows, columns in grids)


@lru_cache(maxsize=256)
def _of_frame(rows: int, columns: int, merge: int) -> torch.Tensor:
    sides = torch.meshgrid(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"), indexing="ij")
    in_squares = "(row down) (column along) place -> (row column down along) place"
    return rearrange(torch.stack(sides, dim=-1), in_squares, down=merge, along=merge).contiguous()
