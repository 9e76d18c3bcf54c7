"""What stands in place of MoonViTEncoderLayer.attention_qkvpacked: what layers share is bound once per encoder call.

Query and key are rotated as heads of one row, and the longest sequence, which no op of an NPU takes, is not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.direct_calls import settled
from ascend_patches.npu.neighbours import behind
from ascend_patches.npu.rotary_mul import style_of, turns_by
from ascend_patches.npu.shared_attention import Heads, Turning, shared_by_layers

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_attention(layer: Any, *args: Any) -> torch.Tensor: ...


def attention_0_15(
    self: Any, x: torch.Tensor, cu_seqlens: torch.Tensor, rope_freqs_cis: torch.Tensor | None = None
) -> torch.Tensor:
    shared = _attention(self, x, cu_seqlens, rope_freqs_cis, None, _by_complex_numbers)
    return shared if shared is not None else upstream_attention(self, x, cu_seqlens, rope_freqs_cis)


def attention_0_23(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rope_freqs_cis: torch.Tensor | None = None,
    max_seqlen: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    shared = _attention(self, x, cu_seqlens, rope_freqs_cis, sequence_lengths, _by_complex_numbers)
    if shared is not None:
        return shared
    return upstream_attention(self, x, cu_seqlens, rope_freqs_cis, max_seqlen, sequence_lengths)


def attention_0_29(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rope_freqs_cis: torch.Tensor,
    max_seqlen: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    shared = _attention(self, x, cu_seqlens, rope_freqs_cis, sequence_lengths, _by_the_op)
    if shared is not None:
        return shared
    return upstream_attention(self, x, cu_seqlens, rope_freqs_cis, max_seqlen, sequence_lengths)


def _attention(
    layer: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    frequencies: torch.Tensor | None,
    sequence_lengths: torch.Tensor | None,
    turning: Callable[..., Turning | None],
) -> torch.Tensor | None:
    """By what layers share; None where the release's own has to do it."""
    shared = shared_by_layers(layer, x, (cu_seqlens, sequence_lengths, frequencies), turning)
    if shared is None or shared.turning.turn is None:
        return None
    parts, direct = layer._modules, settled()
    projected = direct.linear(parts["wqkv"], x) if direct is not None else parts["wqkv"](x)[0]
    if not shared.attention.takes(projected):
        return None
    context = shared.attention.context(projected, shared.turning.turn)
    output: torch.Tensor = direct.linear(parts["wo"], context) if direct is not None else parts["wo"](context)[0]
    return output


def _by_complex_numbers(layer: Any, frequencies: torch.Tensor, heads: Heads) -> Turning | None:
    """Before 0.29: neighbours as one complex number, in float32."""
    if frequencies.shape != (heads.tokens, heads.size // 2) or frequencies.dtype != torch.complex64:
        return None
    by_head = frequencies.unsqueeze(-2)

    def turn(x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * by_head).flatten(-2).type_as(x)

    return Turning(turn, lambda layer: True)


def _by_the_op(layer: Any, frequencies: torch.Tensor, heads: Heads) -> Turning | None:
    """From 0.29 on: by ApplyRotaryEmb, in float32."""
    rotary = layer._modules["apply_rotary_emb"]
    rotation = behind(rotary)
    if rotation is None or frequencies.shape != (heads.tokens, heads.size // 2):
        return None
    cos, sin = frequencies.real.contiguous(), frequencies.imag.contiguous()
    turn = rotation.of(rotary, heads.side_by_side, heads.dtype, cos, sin)
    return Turning(turn, partial(turns_by, rotation, style_of(rotary))) if turn is not None else None
