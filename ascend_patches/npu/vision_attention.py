"""What stands in place of Qwen2_5_VisionAttention.forward, which the vision encoders of Qwen2.5 and later share.

Query and key are turned where the projection left them, and a layer whose attention pads its heads gets them in padded
memory that the encoder call keeps: one copy for query and key, one for the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.encoder_attention import known_plan
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.padding import packed_qkv

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(layer: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


def forward_0_13(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
) -> torch.Tensor:
    return _forward(self, x, rotary_pos_emb_cos, rotary_pos_emb_sin, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen)


def forward_0_17(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
    sequence_lengths: torch.Tensor,
) -> torch.Tensor:
    return _forward(
        self,
        x,
        rotary_pos_emb_cos,
        rotary_pos_emb_sin,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
        sequence_lengths=sequence_lengths,
    )


def for_blocks(hidden: torch.Tensor, blocks: Iterable[Any]) -> torch.Tensor:
    """[tokens, width] as it is where the attention of every block is done here; others have a batch of one."""
    return hidden if all(_is_done_here(getattr(block, "attn", None)) for block in blocks) else hidden.unsqueeze(1)


def _is_done_here(attention: Any) -> bool:
    # What is in place is a copy of one of these, under upstream's name.
    in_place = getattr(attention, "forward", None)
    return getattr(in_place, "__code__", None) in (forward_0_13.__code__, forward_0_17.__code__)


def _forward(layer: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, **sequences: Any) -> torch.Tensor:
    """Attention over [tokens, 1, width] as in the releases, or [tokens, width]."""
    if not serves() or cos is None or sin is None or (x.dim() == 3 and x.shape[1] != 1):
        return _as_upstream(layer, x, cos, sin, **sequences)
    # Of two dimensions a linear layer makes two operations, of three it makes four.
    projected, _ = layer.qkv(x if x.dim() == 2 else x.squeeze(1))
    query_key, value = _apart(layer, projected)
    turned = layer.apply_rotary_emb(query_key, cos, sin)
    output: torch.Tensor = layer.proj(_context(layer, turned, value, **sequences))[0]
    return output if x.dim() == 2 else output.unsqueeze(1)


def _as_upstream(layer: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, **sequences: Any) -> torch.Tensor:
    with_batch = x if x.dim() == 3 else x.unsqueeze(1)
    output = upstream_forward(layer, with_batch, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
    return output if x.dim() == 3 else output.squeeze(1)


def _apart(layer: Any, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key, [2, tokens, heads, size], and value, [1, tokens, heads, size], where the projection left them."""
    projected = projected.contiguous()
    heads, size = layer.num_attention_heads_per_partition, layer.hidden_size_per_attention_head
    tokens, start, width = projected.shape[0], projected.storage_offset(), heads * size
    by_head = (3 * width, size, 1)
    return (
        projected.as_strided((2, tokens, heads, size), (width, *by_head), start),
        projected.as_strided((1, tokens, heads, size), (width, *by_head), start + 2 * width),
    )


def _context(layer: Any, query_key: torch.Tensor, value: torch.Tensor, **sequences: Any) -> torch.Tensor:
    """[tokens, heads * size], which the next layer overwrites."""
    plan = known_plan(layer.attn)
    packed = packed_qkv(value, plan.padded_size) if plan is not None and plan.pads else None
    if packed is None:
        output = layer.attn(query=query_key[:1], key=query_key[1:], value=value, **sequences)
        return output.reshape(value.shape[1], -1)
    packed.query_and_key.copy_(query_key)
    packed.value.copy_(value)
    query, key, value = packed.heads
    output = layer.attn(query=query, key=key, value=value, **sequences)
    return packed.flat_context if output is packed.context else output.reshape(value.shape[1], -1)
