"""What stands in place of Qwen2VisionTransformer.forward and of Qwen2VisionAttention.forward.

Everything that layers have in common is made before the first, from what the host knows; what layers of attention share
is bound once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.compiled_blocks import any_compiled
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import as_in_0_13, on_host
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import announce, hand_over
from ascend_patches.npu.pixels import as_the_model_takes
from ascend_patches.npu.rotary_places import largest_side, rotary_places
from ascend_patches.npu.vision_attention import attention, for_blocks
from ascend_patches.npu.vision_transformers import Grids, frames_of, grids_on_host

if TYPE_CHECKING:
    # The release's own, which are here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_attention_forward(layer: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    return _forward(self, x, grid_thw)


def forward_0_22(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    return _forward(self, x, grid_thw, encoder_metadata)


def forward_0_23(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]] | None,
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    return _forward(self, x, grid_thw, encoder_metadata)


def attention_forward(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: int | None = None,
) -> torch.Tensor:
    if self.tp_size > 1:
        # Its projection is cut by columns, not by heads: the ranks put it together before they take their heads.
        return upstream_attention_forward(self, x, cu_seqlens, rotary_pos_emb_cos, rotary_pos_emb_sin, max_seqlen)
    return attention(
        self,
        upstream_attention_forward,
        x,
        rotary_pos_emb_cos,
        rotary_pos_emb_sin,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
    )


def _forward(
    model: Any, x: torch.Tensor, grid_thw: Any, encoder_metadata: dict[str, torch.Tensor] | None = None
) -> torch.Tensor:
    given = {} if encoder_metadata is None else {"encoder_metadata": encoder_metadata}
    if not serves():
        return upstream_forward(model, x, grid_thw, **given)
    grids = grids_on_host(grid_thw)
    with encoder_call():
        if given or not grids or any_compiled(model.blocks):
            if grids:
                announce(frames_of(grids))
            return upstream_forward(model, x, grid_thw, **given)
        return _eagerly(model, x, grids)


def _eagerly(model: Any, x: torch.Tensor, grids: Grids) -> torch.Tensor:
    lengths = frames_of(grids)
    sequences = on_host(model, lengths, as_in_0_13)
    rotary = rotary_places(grids, model.spatial_merge_size)
    # Before the first kernel is queued, for which a copy might have to wait.
    rotary, cu_seqlens = to_device(model.device, rotary, sequences["cu_seqlens"])
    hand_over(cu_seqlens, lengths)
    sequences["cu_seqlens"] = cu_seqlens
    tables = model.rotary_pos_emb.get_cos_sin(largest_side(grids))
    cos, sin = (table[rotary].flatten(1) for table in tables)
    hidden = _for_blocks(model.patch_embed(as_the_model_takes(model, x)), model.blocks)
    for block in model.blocks:
        hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
    merged: torch.Tensor = model.merger(hidden)
    return merged


def _for_blocks(hidden: torch.Tensor, blocks: Iterable[Any]) -> torch.Tensor:
    blocks = list(blocks)
    # What several ranks put together has a batch.
    alone = all(block.attn.tp_size == 1 for block in blocks)
    return for_blocks(hidden, blocks, attention_forward) if alone else hidden.unsqueeze(1)
