"""Advice around the forwards of vision and audio encoders: one encoder call, with the lengths that the host knows.

A model that prepares its metadata apart gets the lengths handed over with the very tensor; where the tensor is made in
the midst of a forward, the lengths are announced to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch

from ascend_patches.npu.encoder_call import current_call, encoder_call
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import announce, hand_over, lengths_of

Wrapped = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Grids = Sequence[Sequence[int]]

_GRIDS = ("grid_thw", "grid_thws", "image_grid_thw", "grid_hw", "spatial_shapes")
"""What forwards call the grids that they are given."""
_LENGTHS = ("feature_lens", "aftercnn_lens", "audio_lens", "audio_token_len")
"""What functions call the lengths of recordings, before and after their convolutions."""
_OF_CALL = ("grids",)
_HOST = torch.device("cpu")
_ON_HOST = "boundaries on the host"


def one_call(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward whose lengths come from somewhere else, or from the device."""
    if not serves():
        return wrapped(*args, **kwargs)
    with encoder_call():
        return wrapped(*args, **kwargs)


def one_call_of_frames(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward that is given grids, in which each frame is a sequence."""
    return _announced(wrapped, args, kwargs, frames_of)


def one_call_of_clips(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward that is given grids, in which each image or video is one sequence."""
    return _announced(wrapped, args, kwargs, clips_of)


def one_call_of_frames_on_host(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """The same for a forward that looks at its grids one by one: grids on the device are read once, before it."""
    return _announced(wrapped, *_with_grids_on_host(wrapped, args, kwargs), frames_of)


def one_call_of_frames_if_on_device(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward whose boundaries are where its grids are: on the host there is nothing to gain."""
    if _grids_in(wrapped, args, kwargs) is not None:
        return wrapped(*args, **kwargs)
    return one_call_of_frames_on_host(wrapped, instance, args, kwargs)


def one_call_of_shapes_on_host(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``forward((patches, shapes))``, which looks at rows and columns one by one: they are read once, before it."""
    patches, shapes = args[0] if args else kwargs["packed_seq_patches"]
    if not serves():
        return wrapped((patches, shapes))
    on_host = shapes.cpu()
    with encoder_call():
        announce(clips_of(on_host.tolist()))
        return wrapped((patches, on_host))


def boundaries_of_clips_on_host(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a forward that cuts its result by the boundaries which it is given: they are known on the host."""
    grids, boundaries = _grids_in(wrapped, args, kwargs), kwargs.get("cu_seqlens")
    if serves() and grids is not None and boundaries is not None:
        ends = torch.tensor([0, *clips_of(grids)], device="cpu").cumsum(0).to(boundaries.dtype)
        if ends.numel() == boundaries.numel():
            kwargs = kwargs | {"cu_seqlens": ends}
    return _announced(wrapped, args, kwargs, clips_of)


def largest_side_known(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``forward(length)`` of a rotary table, whose length a model takes from positions on the device.

    It is the largest side of the grids that the call was announced with.
    """
    call = current_call()
    grids: Grids | None = call.buffers.get(_OF_CALL) if call is not None else None
    return wrapped(*args, **kwargs) if grids is None else wrapped(max(max(grid[-2:]) for grid in grids))


def windows_known(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``get_window_index(grids)``, which returns an order and the ends of all windows, empty ones too."""
    found = wrapped(*args, **kwargs)
    announce([end - begin for begin, end in pairwise(found[1]) if end > begin])
    return found


def recomputed_boundaries_known(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``maybe_recompute_cu_seqlens(backend, boundaries, ...)``, which moves the host's boundaries to the device."""
    made, given = wrapped(*args, **kwargs), args[1] if len(args) > 1 else kwargs["cu_seqlens"]
    if current_call() is not None and made.numel() == len(given):
        hand_over(made, [int(end - begin) for begin, end in pairwise(given)])
    return made


def order_made_on_host(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a function of sides and then a device that returns an order of patches, and lengths which the model reads."""
    if not serves():
        return wrapped(*args, **kwargs)
    (*sides, device), kwargs = (args, kwargs) if "device" not in kwargs else ((*args, kwargs["device"]), dict(kwargs))
    kwargs["device"] = _HOST
    order, *rest = wrapped(*sides, **kwargs)
    return (*to_device(torch.device(device), order), *rest)


def lengths_read_at_once(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a function of lengths of recordings that looks at them one by one, or calls encoders that do."""
    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    given = {name: value for name, value in bound.arguments.items() if name in _LENGTHS}
    kinds = {(each.device, each.dtype, each.shape) for each in given.values()}
    if not serves() or len(kinds) != 1 or next(iter(kinds))[0].type == "cpu":
        return wrapped(*args, **kwargs)
    bound.arguments.update(zip(given, torch.stack(list(given.values())).cpu().unbind(), strict=True))
    return wrapped(*bound.args, **bound.kwargs)


def boundaries_on_host(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a layer's ``(query, key, value, boundaries)``, which reads its boundaries to split by them."""
    given = args[3] if len(args) > 3 else kwargs.get("cu_seqlens")
    call = current_call()
    if call is None or given is None or given.device.type == "cpu" or not serves():
        return wrapped(*args, **kwargs)
    on_host = call.recall(_ON_HOST, (given,))
    if on_host is None:
        on_host = torch.tensor([0, *lengths_of(given).ends], dtype=given.dtype, device=_HOST)
        call.remember(_ON_HOST, (given,), on_host)
    return wrapped(*args[:3], **(kwargs | {"cu_seqlens": on_host}))


def boundaries_of_lengths_known(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a function of lengths, the host's, that returns the boundaries between them first."""
    made, lengths = wrapped(*args, **kwargs), args[0] if args else kwargs["seqlens"]
    if current_call() is not None:
        hand_over(made[0], lengths)
    return made


def masked_sequences_known(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For a function of lengths, the host's, that returns metadata with the boundaries between them."""
    made, lengths = wrapped(*args, **kwargs), args[0] if args else kwargs["seq_lens"]
    if current_call() is not None:
        hand_over(made.cu_seqlens, lengths)
    return made


def frames_prepared(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``prepare_encoder_metadata(grids)``, in which each frame is a sequence."""
    return _prepared(wrapped(*args, **kwargs), args, kwargs, "cu_seqlens", frames_of)


def clips_prepared(wrapped: Wrapped, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    """For ``prepare_encoder_metadata(grids)``, in which each image or video is one sequence."""
    return _prepared(wrapped(*args, **kwargs), args, kwargs, "cu_seqlens", clips_of)


def frames_of(grids: Grids) -> list[int]:
    return [rows * columns for frames, rows, columns in grids for _ in range(frames)]


def clips_of(grids: Grids) -> list[int]:
    """Of grids with frames, rows and columns, or with rows and columns alone."""
    return [prod(grid) for grid in grids]


def _announced(
    wrapped: Wrapped, args: Arguments, kwargs: Keywords, lengths_of: Callable[[Grids], Sequence[int]]
) -> Any:
    if not serves():
        return wrapped(*args, **kwargs)
    grids = _grids_in(wrapped, args, kwargs)
    with encoder_call() as call:
        if grids:
            announce(lengths_of(grids))
            call.buffers[_OF_CALL] = grids
        return wrapped(*args, **kwargs)


def _grids_in(wrapped: Wrapped, args: Arguments, kwargs: Keywords) -> Grids | None:
    """The grids that a function is given, as numbers, if that takes no copy from the device."""
    name, index = _grids_of(getattr(wrapped, "__func__", wrapped))
    return grids_on_host(args[index] if index < len(args) else kwargs.get(name))


def _with_grids_on_host(wrapped: Wrapped, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
    name, index = _grids_of(getattr(wrapped, "__func__", wrapped))
    given = args[index] if index < len(args) else kwargs.get(name)
    if not serves() or not isinstance(given, torch.Tensor) or given.device.type == "cpu":
        return args, kwargs
    on_host = given.cpu()
    return (
        ((*args[:index], on_host, *args[index + 1 :]), kwargs)
        if index < len(args)
        else (args, kwargs | {name: on_host})
    )


@cache
def _grids_of(function: Any) -> tuple[str, int]:
    """What a method calls its grids, and at which place it takes them."""
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    found = next((name for name in names if name in _GRIDS), None)
    return (found, names.index(found)) if found is not None else ("", len(names))


def _prepared(
    metadata: dict[str, Any],
    args: Arguments,
    kwargs: Keywords,
    name: str,
    lengths_of: Callable[[Grids], Sequence[int]],
) -> dict[str, Any]:
    boundaries = metadata[name]
    grids = grids_on_host(args[0] if args else kwargs.get("grid_thw", kwargs.get("grid_thw_list")))
    if boundaries is not None and grids is not None and current_call() is not None:
        lengths = lengths_of(grids)
        empty = boundaries.numel() - 1 - len(lengths)
        if empty >= 0:
            # For a graph, boundaries are filled up with empty sequences.
            hand_over(boundaries, [*lengths, *[0] * empty])
    return metadata


def grids_on_host(grids: Any) -> Grids | None:
    """The grids as numbers, if that takes no copy from the device; an image may bring a list of several."""
    if isinstance(grids, torch.Tensor):
        return None if grids.device.type != "cpu" else grids.tolist()
    if grids is None:
        return None
    flat = [each for grid in grids for each in (grid if isinstance(grid[0], (list, tuple)) else [grid])]
    return [tuple(map(int, grid)) for grid in flat]
