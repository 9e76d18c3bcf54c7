"""What stands in place of Qwen3_VisionTransformer.forward: one encoder call, whose lengths are known on the host.

Everything that layers have in common is made before the first; layers see [tokens, width], without a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.compiled_blocks import any_compiled
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import Style, as_in_0_13, as_in_0_17, as_in_0_18, on_host
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import hand_over
from ascend_patches.npu.position_embeddings import Grid, Places, interpolated, places
from ascend_patches.npu.vision_attention import for_blocks
from ascend_patches.npu.vision_transformers import frames_of

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, x, grid_thw, as_in_0_13)


def forward_0_17(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, x, grid_thw, as_in_0_17)


def forward_0_18(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, x, grid_thw, as_in_0_18)


def forward_0_19(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    if encoder_metadata is not None or not _serves(self):
        return _with_metadata(self, x, grid_thw, encoder_metadata)
    return _forward(self, x, grid_thw, as_in_0_18)


def _with_metadata(
    model: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    encoder_metadata: dict[str, torch.Tensor] | None,
) -> torch.Tensor:
    """The release's own forward, as for encoder graphs; run eagerly, its layers still share what they read."""
    with encoder_call():
        return upstream_forward(model, x, grid_thw, encoder_metadata=encoder_metadata)


def _serves(model: Any) -> bool:
    return serves() and not any_compiled(model.blocks)


def _input(model: Any, x: torch.Tensor) -> torch.Tensor:
    norm = getattr(model, "input_norm", None)
    if norm is None:
        return x.to(device=model.device, dtype=model.dtype, non_blocking=True)
    # From 0.32 on the encoder normalizes pixels itself.
    normed: torch.Tensor = norm(x.to(device=model.device, non_blocking=True), model.dtype)
    return normed


def _forward(model: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]], style: Style) -> torch.Tensor:
    grids = grid_thw if isinstance(grid_thw, list) else grid_thw.tolist()
    with encoder_call():
        lengths = frames_of(grids)
        sequences = on_host(model, lengths, style)
        learned = places(model.num_grid_per_side, model.spatial_merge_size, model.dtype, grids)
        rotary = torch.cat([_rotary_places(model, *grid) for grid in grids])
        # Before the first kernel is queued, for which a copy might have to wait.
        *learned_there, rotary, cu_seqlens = to_device(model.device, *learned, rotary, sequences["cu_seqlens"])
        hand_over(cu_seqlens, lengths)
        sequences["cu_seqlens"] = cu_seqlens
        positions = interpolated(model.pos_embed.weight, Places(*learned_there), model.dtype)
        hidden = for_blocks(model.patch_embed(_input(model, x)) + positions, model.blocks)
        cos, sin = (table[rotary].flatten(1) for table in model.rotary_pos_emb.get_cos_sin(_largest(grids)))
        tapped = []
        for index, block in enumerate(model.blocks):
            hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
            if index in model.deepstack_visual_indexes:
                merger = model.deepstack_merger_list[model.deepstack_visual_indexes.index(index)]
                tapped.append(merger(hidden))
        return torch.cat([model.merger(hidden), *tapped], dim=1)


def _rotary_places(model: Any, frames: int, rows: int, columns: int) -> torch.Tensor:
    """The row and column of each patch of an image or video, [patches, 2], on the host."""
    of_a_frame: torch.Tensor = model.rot_pos_ids(rows, columns, model.spatial_merge_size)
    return of_a_frame if frames == 1 else of_a_frame.repeat(frames, 1)


def _largest(grids: Sequence[Grid]) -> int:
    return max(max(rows, columns) for _, rows, columns in grids)
