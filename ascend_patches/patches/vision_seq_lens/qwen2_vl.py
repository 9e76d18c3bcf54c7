"""What stands in place of Qwen2VisionAttention.forward: what the layers of an encoder call share is bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.vision_attention import attention

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_attention_forward(layer: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


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
