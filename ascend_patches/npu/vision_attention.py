"""What stands in place of the forward of vision attention layers that project query, key and value in one.

What the layers of an encoder call share is bound at the first of them. A layer that is given other tensors than that
one, or whose submodules would do anything else, goes the general way: through its submodules, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.direct_calls import settled
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.neighbours import behind
from ascend_patches.npu.rotary_mul import style_of, turns_by
from ascend_patches.npu.shared_attention import Heads, Turning, shared_by_layers

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
    return attention(
        self, upstream_forward, x, rotary_pos_emb_cos, rotary_pos_emb_sin, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen
    )


def forward_0_17(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
    sequence_lengths: torch.Tensor,
) -> torch.Tensor:
    return attention(
        self,
        upstream_forward,
        x,
        rotary_pos_emb_cos,
        rotary_pos_emb_sin,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
        sequence_lengths=sequence_lengths,
    )


def for_blocks(hidden: torch.Tensor, blocks: Iterable[Any], *forwards: Callable[..., torch.Tensor]) -> torch.Tensor:
    """[tokens, width] as it is where the attention of every block is one of ours; others have a batch of one."""
    codes = [forward.__code__ for forward in forwards or (forward_0_13, forward_0_17)]
    return hidden if all(_is_done_by(codes, getattr(block, "attn", None)) for block in blocks) else hidden.unsqueeze(1)


def _is_done_by(codes: list[CodeType], attention: Any) -> bool:
    # What is in place is a copy of one of these, under upstream's name.
    return getattr(getattr(attention, "forward", None), "__code__", None) in codes


def attention(
    layer: Any,
    upstream: Callable[..., torch.Tensor],
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    value_in_one_piece: bool = False,
    **sequences: Any,
) -> torch.Tensor:
    """Attention over [tokens, 1, width] as in the releases, or [tokens, width]; ``upstream`` is the layer's own.

    ``value_in_one_piece``: the release gives its attention a contiguous value, and one that is not ours may need that.
    """
    given = (sequences["cu_seqlens"], sequences.get("sequence_lengths"), cos, sin)
    shared = shared_by_layers(layer, x, given, _turning)
    if shared is None and not _can_be_done_here(x, cos, sin):
        return _as_upstream(layer, upstream, x, cos, sin, **sequences)
    parts = layer._modules
    # Of two dimensions a linear layer makes two operations, of three it makes four.
    rows = x if x.dim() == 2 else x.squeeze(1)
    direct = settled() if shared is not None else None
    projected = direct.linear(parts["qkv"], rows) if direct is not None else parts["qkv"](rows)[0]
    if shared is not None and shared.attention.takes(projected):
        turn = shared.turning.turn or partial(parts["apply_rotary_emb"], cos=cos, sin=sin)
        context = shared.attention.context(projected, turn)
    else:
        context = _context(layer, projected, cos, sin, value_in_one_piece, **sequences)
    output: torch.Tensor = direct.linear(parts["proj"], context) if direct is not None else parts["proj"](context)[0]
    return output if x.dim() == 2 else output.unsqueeze(1)


def _can_be_done_here(x: torch.Tensor, cos: torch.Tensor | None, sin: torch.Tensor | None) -> bool:
    return serves() and cos is not None and sin is not None and (x.dim() == 2 or x.shape[1] == 1)


def _turning(layer: Any, cos: torch.Tensor, sin: torch.Tensor, heads: Heads) -> Turning:
    """By the op where a replacement is behind the layers' rotation; otherwise each layer calls its own."""
    rotary = layer._modules["apply_rotary_emb"]
    rotation = behind(rotary)
    turn = rotation.of(rotary, heads.side_by_side, heads.dtype, cos, sin) if rotation is not None else None
    if turn is None:
        return Turning(None, lambda layer: True)
    return Turning(turn, partial(turns_by, rotation, style_of(rotary)))


# The general way


def _as_upstream(
    layer: Any,
    upstream: Callable[..., torch.Tensor],
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    **sequences: Any,
) -> torch.Tensor:
    with_batch = x if x.dim() == 3 else x.unsqueeze(1)
    output = upstream(layer, with_batch, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
    return output if x.dim() == 3 else output.squeeze(1)


def _context(
    layer: Any,
    projected: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    value_in_one_piece: bool,
    **sequences: Any,
) -> torch.Tensor:
    """[tokens, heads * size]."""
    query_key, value = _apart(layer, projected)
    if value_in_one_piece and behind(layer.attn) is None:
        # Ops that take no notice of the strides of a value read other numbers from one that has any.
        value = value.contiguous()
    turned = layer.apply_rotary_emb(query_key, cos, sin)
    output = layer.attn(query=turned[:1], key=turned[1:], value=value, **sequences)
    return output.reshape(value.shape[1], -1)


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
