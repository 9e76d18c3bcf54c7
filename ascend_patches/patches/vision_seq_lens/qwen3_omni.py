"""What stands in place of Qwen3Omni_VisionTransformer.forward: one encoder call, whose lengths are known on the host.

Position embeddings are made for all images at once, and layers see [tokens, width], without a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ascend_patches.npu.compiled_blocks import any_compiled
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import encoder_attention
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import announce, hand_over
from ascend_patches.npu.position_embeddings import Places, interpolated_in_turn, places_in_turn
from ascend_patches.npu.rotary_places import largest_side, rotary_places
from ascend_patches.npu.vision_attention import for_blocks
from ascend_patches.npu.vision_transformers import frames_of, grids_on_host

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


Boundaries = np.ndarray[Any, np.dtype[np.int32]]
More = Callable[[Any, Boundaries], dict[str, Any]]
"""What blocks get beside ``cu_seqlens`` and the longest sequence."""


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, lambda model, boundaries: {})


def forward_0_17(self: Any, x: torch.Tensor, grid_thw: list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, _lengths_in_0_17)


def forward_0_18(self: Any, x: torch.Tensor, grid_thw: list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, _lengths_in_0_18)


def forward_0_24(self: Any, x: torch.Tensor, grid_thw: list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, _lengths_in_0_18, on_device=True)


def _lengths_in_0_17(model: Any, boundaries: Boundaries) -> dict[str, Any]:
    lengths = encoder_attention().maybe_compute_sequence_lengths(model.attn_backend, boundaries)
    on_device = None if lengths is None else torch.from_numpy(lengths).to(model.device, non_blocking=True)
    return {"sequence_lengths": on_device}


def _lengths_in_0_18(model: Any, boundaries: Boundaries) -> dict[str, Any]:
    attention = encoder_attention()
    return {"sequence_lengths": attention.maybe_compute_seq_lens(model.attn_backend, boundaries, model.device)}


def _forward(model: Any, x: torch.Tensor, grid_thw: Any, more: More, *, on_device: bool = False) -> torch.Tensor:
    if not serves():
        return upstream_forward(model, x, grid_thw)
    grids = grids_on_host(grid_thw)
    with encoder_call():
        if grids is None or any_compiled(model.blocks):
            if grids is not None:
                announce(frames_of(grids))
            return upstream_forward(model, x, grid_thw)
        return _eagerly(model, x, grids, more, on_device=on_device)


def _eagerly(
    model: Any, x: torch.Tensor, grids: Sequence[Sequence[int]], more: More, *, on_device: bool
) -> torch.Tensor:
    lengths = frames_of(grids)
    boundaries: Boundaries = np.cumsum([0, *lengths], dtype=np.int32)
    cu_seqlens = torch.from_numpy(boundaries)
    longest = model.compute_attn_mask_seqlen(cu_seqlens)
    learned = places_in_turn(model.num_grid_per_side, model.spatial_merge_size, model.dtype, grids)
    rotary = rotary_places(grids, model.spatial_merge_size)
    # Before the first kernel is queued, for which a copy might have to wait. Releases before 0.24 leave boundaries on
    # the host, where their own attention reads them.
    *learned_there, rotary, there = to_device(model.device, *learned, rotary, cu_seqlens)
    cu_seqlens = there if on_device else cu_seqlens
    hand_over(cu_seqlens, lengths)
    tables = model.rotary_pos_emb.get_cos_sin(largest_side(grids))
    cos, sin = (table.to(model.device)[rotary].flatten(1) for table in tables)
    sequences = {"cu_seqlens": cu_seqlens, "max_seqlen": longest, **more(model, boundaries)}
    hidden = model.patch_embed(x.to(device=model.device, dtype=model.dtype))
    if model.apply_vit_abs_pos_embed:
        hidden = hidden + interpolated_in_turn(model.pos_embed.weight, Places(*learned_there))
    hidden = for_blocks(hidden, model.blocks)
    indexes = model.deepstack_visual_indexes
    tapped = []
    for index, block in enumerate(model.blocks):
        hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
        if indexes is not None and index in indexes:
            tapped.append(hidden)
    merged: torch.Tensor = model.merger(hidden)
    if indexes is None:
        return merged
    return torch.cat([merged, *(merge(each) for merge, each in zip(model.merger_list, tapped, strict=False))], dim=1)
