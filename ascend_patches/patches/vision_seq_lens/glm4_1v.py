"""What stands in place of Glm4vVisionAttention.forward, and of Glm4vVisionTransformer.forward before 0.24.

What the layers of an encoder call share is bound once, and nothing is asked of the device between them. Releases before
0.24 look up how many patches each frame has in tensors on the device, image by image, to stretch the position
embeddings; the host knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import as_in_0_13, block_arguments
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.vision_attention import attention
from ascend_patches.npu.vision_transformers import frames_of

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
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
    )


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not serves():
        return upstream_forward(self, x, grid_thw)
    grids = torch.tensor(grid_thw, dtype=torch.int32) if isinstance(grid_thw, list) else grid_thw.cpu()
    with encoder_call():
        return _forward(self, x, grids)


def _forward(model: Any, x: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    hidden = model.post_conv_layernorm(model.patch_embed(x.to(device=model.device, dtype=model.dtype)))
    cos, sin, places = model.rot_pos_emb(grids)
    lengths = frames_of(grids.tolist())
    # A tensor: of a list, the release makes one on the device, and reads that one element after the other.
    counts = torch.tensor(lengths, dtype=torch.long, device="cpu")
    hidden = model.embeddings(hidden, counts, grids, places[:, 0], places[:, 1]).unsqueeze(1)
    sequences = block_arguments(model, lengths, as_in_0_13)
    for block in model.blocks:
        hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
    side = model.spatial_merge_size
    squares = model.post_layernorm(hidden).view(-1, side, side, hidden.shape[-1]).permute(0, 3, 1, 2)
    merged: torch.Tensor = model.merger(model.downsample(squares).view(-1, model.out_hidden_size))
    return merged
