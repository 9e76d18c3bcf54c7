"""What stands in place of Qwen2_5_VisionTransformer.forward: one encoder call, with frames and windows known before it.

Everything that layers have in common is made before the first; layers see [tokens, width] where their attention takes
that, and get whole frames or windows, both in tensors that the host knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.compiled_blocks import any_compiled
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import Style, as_in_0_13, as_in_0_18, on_host
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import announce, hand_over
from ascend_patches.npu.pixels import as_the_model_takes
from ascend_patches.npu.vision_attention import for_blocks
from ascend_patches.npu.vision_transformers import Grids, frames_of

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, as_in_0_13)


def forward_0_21(
    self: Any,
    x: torch.Tensor,
    grid_thw: list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    return _forward(self, x, grid_thw, as_in_0_13, encoder_metadata)


def forward_0_22(
    self: Any,
    x: torch.Tensor,
    grid_thw: list[list[int]] | None,
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    return _forward(self, x, grid_thw, as_in_0_18, encoder_metadata)


def _forward(
    model: Any,
    x: torch.Tensor,
    grid_thw: Any,
    style: Style,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    given = {} if encoder_metadata is None else {"encoder_metadata": encoder_metadata}
    if not serves():
        return upstream_forward(model, x, grid_thw, **given)
    with encoder_call():
        if given:
            return upstream_forward(model, x, grid_thw, **given)
        grids = [tuple(map(int, grid)) for grid in grid_thw]
        if any_compiled(model.blocks):
            announce(frames_of(grids), _known_windows(model, grids))
            return upstream_forward(model, x, grid_thw)
        return _eagerly(model, x, grids, style)


def _eagerly(model: Any, x: torch.Tensor, grids: Grids, style: Style) -> torch.Tensor:
    cos, sin, order, length_of_windows = _of_windows(model, grids)
    lengths = (frames_of(grids), length_of_windows)
    frames, windows = (on_host(model, each, style) for each in lengths)
    boundaries = (each["cu_seqlens"] for each in (frames, windows))
    # Before the first kernel is queued, for which a copy might have to wait.
    order, back, *there = to_device(model.device, order, order.argsort(), *boundaries)
    for sequences, cu_seqlens, its_lengths in zip((frames, windows), there, lengths, strict=True):
        sequences["cu_seqlens"] = cu_seqlens
        hand_over(cu_seqlens, its_lengths)
    hidden = model.patch_embed(as_the_model_takes(model, x))
    tokens, unit = hidden.shape[0], model.spatial_merge_unit
    hidden = hidden.reshape(tokens // unit, unit, -1).index_select(0, order).view(tokens, -1)
    hidden = for_blocks(hidden, model.blocks)
    for index, block in enumerate(model.blocks):
        sequences = frames if index in model.fullatt_block_indexes else windows
        hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
    if hidden.dtype == torch.float16:
        hidden = _within_float16(hidden)
    merged: torch.Tensor = model.merger(hidden)
    return merged.index_select(0, back)


def _of_windows(model: Any, grids: Grids) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """cos and sin of all tokens, on the device; on the host, the order of merged tokens, and how long each window is.

    The model keeps what it computes of a size, and counts how often that is read: once for each image.
    """
    cos, sin, orders, boundaries, _ = zip(*(model.get_rope_by_thw(*grid) for grid in grids), strict=True)
    starts = accumulate((len(order) for order in orders), initial=0)
    order = torch.cat([order + start for order, start in zip(orders, starts, strict=False)])
    lengths = [length for each in boundaries for length in _lengths(each)]
    cos, sin = (torch.cat(each).to(model.device, non_blocking=True) for each in (cos, sin))
    return cos, sin, order, lengths


def _known_windows(model: Any, grids: Sequence[tuple[int, ...]]) -> list[int]:
    """How long each window is, where upstream's forward is the one that reads what the model keeps."""
    known: dict[tuple[int, ...], list[int]] = vars(model).setdefault(_WINDOWS, {})
    for grid in grids:
        if grid not in known:
            if len(known) >= _MOST_SIZES:
                known.clear()
            known[grid] = _lengths(model.get_window_index_thw(*grid)[1])
    return [length for grid in grids for length in known[grid]]


def _lengths(boundaries: torch.Tensor) -> list[int]:
    """Between boundaries, without the empty windows."""
    return [end - begin for begin, end in pairwise([0, *boundaries.tolist()]) if end > begin]


_WINDOWS = "_ascend_patches_windows"
_MOST_SIZES = 1024


def _within_float16(hidden: torch.Tensor) -> torch.Tensor:
    from vllm.model_executor.models.utils import cast_overflow_tensors

    bounded: torch.Tensor = cast_overflow_tensors(hidden)
    return bounded
