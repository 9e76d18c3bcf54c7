"""Advice around the forwards of vision and audio encoders: one encoder call, with the lengths that the host knows.

A model that prepares its metadata apart gets the lengths handed over with the very tensor; where the tensor is made in
the midst of a forward, the lengths are announced to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch

from ascend_patches.npu.encoder_call import current_call, encoder_call
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_lengths import announce, hand_over

Wrapped = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Grids = Sequence[Sequence[int]]


def one_call(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward whose lengths come from somewhere else, or from the device."""
    if not serves():
        return wrapped(*args, **kwargs)
    with encoder_call():
        return wrapped(*args, **kwargs)


def one_call_of_frames(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``forward(x, grid_thw)``, in which each frame is a sequence."""
    return _announced(wrapped, args, kwargs, lambda grids: [frames_of(grids)])


def one_call_of_clips(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``forward(x, grid_thws)``, in which each image or video is one sequence."""
    return _announced(wrapped, args, kwargs, lambda grids: [clips_of(grids)])


def frames_prepared(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``prepare_encoder_metadata(grids)``, in which each frame is a sequence."""
    return _prepared(wrapped(*args, **kwargs), args, kwargs, "cu_seqlens", frames_of)


def clips_prepared(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``prepare_encoder_metadata(grids)``, in which each image or video is one sequence."""
    return _prepared(wrapped(*args, **kwargs), args, kwargs, "cu_seqlens", clips_of)


def frames_of(grids: Grids) -> list[int]:
    return [rows * columns for frames, rows, columns in grids for _ in range(frames)]


def clips_of(grids: Grids) -> list[int]:
    return [frames * rows * columns for frames, rows, columns in grids]


def windows_of(model: Any, grids: Grids) -> list[int]:
    """Of each image its windows, without the empty ones; the model keeps what it computes of a size."""
    return [length for grid in grids for length in _windows_of_one(model, grid) if length]


def _windows_of_one(model: Any, grid: Sequence[int]) -> Iterator[int]:
    boundaries: torch.Tensor = model.get_rope_by_thw(*grid)[3]
    return (end - begin for begin, end in pairwise([0, *boundaries.tolist()]))


def _announced(
    wrapped: Wrapped, args: Arguments, kwargs: Keywords, lengths_of: Callable[[Grids], Sequence[Sequence[int]]]
) -> Any:
    if not serves():
        return wrapped(*args, **kwargs)
    grids = _on_host(args[1] if len(args) > 1 else kwargs.get("grid_thw", kwargs.get("grid_thws")))
    with encoder_call():
        if grids is not None:
            announce(*lengths_of(grids))
        return wrapped(*args, **kwargs)


def _prepared(
    metadata: dict[str, Any],
    args: Arguments,
    kwargs: Keywords,
    name: str,
    lengths_of: Callable[[Grids], Sequence[int]],
) -> dict[str, Any]:
    boundaries = metadata[name]
    grids = _on_host(args[0] if args else kwargs.get("grid_thw", kwargs.get("grid_thw_list")))
    if boundaries is not None and grids is not None and current_call() is not None:
        lengths = lengths_of(grids)
        empty = boundaries.numel() - 1 - len(lengths)
        if empty >= 0:
            # For a graph, boundaries are filled up with empty sequences.
            hand_over(boundaries, [*lengths, *[0] * empty])
    return metadata


def _on_host(grids: Any) -> Grids | None:
    """The grids as numbers, if that takes no copy from the device."""
    if isinstance(grids, torch.Tensor):
        return None if grids.device.type != "cpu" else grids.tolist()
    return None if grids is None else [tuple(map(int, grid)) for grid in grids]
