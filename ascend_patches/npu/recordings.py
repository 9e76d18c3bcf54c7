"""Recordings of several lengths on the host: what they are cut into, and which rows are no padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch


def lengths_at_once(
    frames: torch.Tensor, convolved: torch.Tensor, device: torch.device
) -> tuple[list[int], list[int]] | None:
    """How long recordings are before and after convolutions, in one copy.

    None of what upstream has a way of its own for: empty recordings, and lengths that lie elsewhere than the recordings
    or are not alike.
    """
    alike = frames.shape == convolved.shape and frames.dtype == convolved.dtype and frames.dim() == 1
    if not alike or frames.is_floating_point() or {frames.device, convolved.device} != {device}:
        return None
    before, after = torch.stack((frames, convolved)).tolist()
    return (before, after) if before and min(before) > 0 else None


def pieces(lengths: Iterable[int], whole: int) -> list[int]:
    """The sizes of the pieces that lengths are cut into, of which the last of each may be shorter."""
    return list(chain.from_iterable(_cut(length, whole) for length in lengths))


def _cut(length: int, whole: int) -> list[int]:
    full, rest = divmod(length, whole)
    return [whole] * full + [rest] * (rest > 0)


def halved(lengths: Iterable[int], times: int = 1) -> list[int]:
    """What convolutions, each of which halves, leave of lengths."""
    left = list(lengths)
    for _ in range(times):
        left = [(length - 1) // 2 + 1 for length in left]
    return left


def no_padding(rows: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Of pieces that are padded to the longest, which rows are not padding."""
    found: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = np.arange(max(rows)) < np.array(rows)[:, None]
    return found


def boundaries(lengths: Sequence[int]) -> torch.Tensor:
    """``cu_seqlens`` of sequences, on the host."""
    return torch.tensor([0, *lengths], dtype=torch.int32, device="cpu").cumsum(0, dtype=torch.int32)
