"""What stands in place of Glm4vVisionTransformer.forward and of Glm4vVisionAttention.forward.

Releases look up how many patches each frame has in tensors on the device, image by image, to stretch the position
embeddings; the host knows, and they are stretched for all images at once. What layers of attention share is bound once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional

from ascend_patches.npu.compiled_blocks import any_compiled
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import Style, as_in_0_13, as_in_0_18, on_host
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import announce, hand_over
from ascend_patches.npu.neighbours import hooked_everywhere, untouched
from ascend_patches.npu.pixels import as_the_model_takes
from ascend_patches.npu.rotary_places import largest_side, rotary_places
from ascend_patches.npu.vision_attention import attention, for_blocks
from ascend_patches.npu.vision_transformers import Grids, frames_of, grids_on_host

if TYPE_CHECKING:
    # The release's own, which are here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_attention_forward(layer: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


def attention_forward(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor | None = None,
) -> torch.Tensor:
    return attention(
        self,
        upstream_attention_forward,
        x,
        rotary_pos_emb_cos,
        rotary_pos_emb_sin,
        value_in_one_piece=True,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
    )


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw, as_in_0_13, _sizes_in_turn)


def forward_0_24(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    return _forward(self, x, grid_thw, as_in_0_18, _sizes_of_frames, encoder_metadata)


Sizes = Callable[[Grids, int], Grids]
"""The grid that each frame's position embeddings are stretched to, of the grids of images and the number of frames."""


def _sizes_in_turn(grids: Grids, frames: int) -> Grids:
    """As before 0.24, where a frame has the size of another image if there is a video among several."""
    return [grids[index % len(grids)] for index in range(frames)]


def _sizes_of_frames(grids: Grids, frames: int) -> Grids:
    return [grid for grid in grids for _ in range(grid[0])]


def _forward(
    model: Any,
    x: torch.Tensor,
    grid_thw: Any,
    style: Style,
    sizes: Sizes,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    given = {} if encoder_metadata is None else {"encoder_metadata": encoder_metadata}
    if not serves():
        return upstream_forward(model, x, grid_thw, **given)
    with encoder_call():
        if given:
            return upstream_forward(model, x, grid_thw, **given)
        grids = grids_on_host(grid_thw)
        if grids is None:
            grids = grid_thw.tolist()
        if not grids or any_compiled(model.blocks) or hooked_everywhere() or not untouched(model.embeddings):
            announce(frames_of(grids))
            return upstream_forward(model, x, grids)
        return _eagerly(model, x, grids, style, sizes)


def _eagerly(model: Any, x: torch.Tensor, grids: Grids, style: Style, sizes: Sizes) -> torch.Tensor:
    lengths = frames_of(grids)
    sequences = on_host(model, lengths, style)
    rotary = rotary_places(grids, model.spatial_merge_size)
    stretched = _stretched_to(sizes(grids, len(lengths)), lengths)
    # Before the first kernel is queued, for which a copy might have to wait.
    rotary, places, stretched, cu_seqlens = to_device(
        model.device, rotary, rotary.T.contiguous().float(), stretched, sequences["cu_seqlens"]
    )
    hand_over(cu_seqlens, lengths)
    hidden = model.post_conv_layernorm(model.patch_embed(as_the_model_takes(model, x)))
    table = model.embeddings.position_embedding.weight
    hidden = for_blocks(hidden + _embeddings(table, places, stretched), model.blocks, attention_forward)
    tables = model.rotary_pos_emb.get_cos_sin(largest_side(grids))
    cos, sin = (table[rotary].flatten(1) for table in tables)
    more = {"cu_seqlens": cu_seqlens, "max_seqlen": sequences["max_seqlen"]}
    for block in model.blocks:
        hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **more)
    side = model.spatial_merge_size
    squares = model.post_layernorm(hidden).view(-1, side, side, hidden.shape[-1]).permute(0, 3, 1, 2)
    merged: torch.Tensor = model.merger(model.downsample(squares).view(-1, model.out_hidden_size))
    return merged


def _stretched_to(sizes: Grids, lengths: Sequence[int]) -> torch.Tensor:
    """For each patch the rows and columns of what the square of learned positions is stretched to, [2, patches]."""
    sides = torch.tensor([[rows, columns] for _, rows, columns in sizes], dtype=torch.float32, device="cpu").T
    return sides.repeat_interleave(torch.tensor(lengths, device="cpu"), dim=1).contiguous()


def _embeddings(table: torch.Tensor, places: torch.Tensor, stretched: torch.Tensor) -> torch.Tensor:
    """[patches, width]: bicubic in a square of learned positions, at the middle of each patch."""
    side = int(table.shape[0] ** 0.5)
    square = table.view(side, side, -1).permute(2, 0, 1).unsqueeze(0).float()
    rows, columns = (((places + 0.5) / stretched) * 2 - 1).unbind(0)
    at = torch.stack((columns, rows), dim=-1).unsqueeze(0).unsqueeze(2)
    found = torch.nn.functional.grid_sample(square, at, mode="bicubic", align_corners=False, padding_mode="border")
    return found.squeeze(0).squeeze(-1).permute(1, 0).to(table.dtype)
