"""What stands in place of the forward of vision blocks: the same submodules in the same order, called directly.

Of each submodule only what it computes is called, where that is provably all that its call would do; see
ascend_patches.npu.direct_calls. Outside of encoder calls, and while Python is recorded, the release's own runs.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.npu.direct_calls import Direct, direct_calls

if TYPE_CHECKING:
    # The releases' own, which are here while the patch is applied.
    def upstream_qwen3_vl(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_qwen3_omni(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_qwen2_5_vl(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_qwen2_vl(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_glm4_1v(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_kimi_k2_5(block: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


Upstream = Callable[..., torch.Tensor]


class Parts:
    """The submodules of a block, by the names that its forward calls."""

    def __init__(self, *names: str) -> None:
        self._of = itemgetter(*names)
        self._names = frozenset(names)

    def of(self, block: Any, x: torch.Tensor) -> tuple[Direct, tuple[Any, ...]] | None:
        """How they are called, and they; None where the release's own forward has to find and call them."""
        direct = direct_calls()
        if direct is None or type(x) is not torch.Tensor:
            return None
        own = block.__dict__
        modules = own["_modules"]
        if not own.keys().isdisjoint(self._names) or not modules.keys() >= self._names:
            return None
        return direct, self._of(modules)


_SUMMED = Parts("norm1", "attn", "norm2", "mlp")
_WITH_A_METHOD = Parts("norm0", "norm1", "mlp")


def _summed(block: Any, upstream: Upstream, x: torch.Tensor, **sequences: Any) -> torch.Tensor:
    """Attention and an MLP, each behind a norm and added to what that was given."""
    found = _SUMMED.of(block, x)
    if found is None:
        return upstream(block, x, **sequences)
    direct, (before, attention, between, mlp) = found
    x = x + direct.call(attention, direct.norm(before, x), **sequences)
    return x + direct.mlp(mlp, direct.norm(between, x))


def _fused(block: Any, upstream: Upstream, x: torch.Tensor, more: dict[str, Any], **sequences: Any) -> torch.Tensor:
    """The same, where the second norm adds; attention is given some more than the block."""
    found = _SUMMED.of(block, x)
    if found is None:
        return upstream(block, x, **sequences)
    direct, (before, attention, between, mlp) = found
    attended = direct.call(attention, direct.norm(before, x), **sequences, **more)
    normed, residual = direct.call(between, x, residual=attended)
    output: torch.Tensor = residual + direct.mlp(mlp, normed)
    return output


def _with_a_method(block: Any, upstream: Upstream, x: torch.Tensor, *sequences: Any, **more: Any) -> torch.Tensor:
    """The first, where attention is a method of the block."""
    found = _WITH_A_METHOD.of(block, x)
    if found is None:
        return upstream(block, x, *sequences, **more)
    direct, (before, between, mlp) = found
    x = x + block.attention_qkvpacked(direct.norm(before, x), *sequences, **more)
    return x + direct.mlp(mlp, direct.norm(between, x))


def qwen3_vl_0_13(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
) -> torch.Tensor:
    return _summed(
        self,
        upstream_qwen3_vl,
        x,
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def qwen3_vl_0_17(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
    sequence_lengths: torch.Tensor,
) -> torch.Tensor:
    return _summed(
        self,
        upstream_qwen3_vl,
        x,
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
        sequence_lengths=sequence_lengths,
    )


def qwen3_omni_0_13(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
) -> torch.Tensor:
    return _summed(
        self,
        upstream_qwen3_omni,
        x,
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def qwen3_omni_0_17(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
    sequence_lengths: torch.Tensor,
) -> torch.Tensor:
    return _summed(
        self,
        upstream_qwen3_omni,
        x,
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
        sequence_lengths=sequence_lengths,
    )


def qwen2_vl(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: int | None = None,
) -> torch.Tensor:
    return _summed(
        self,
        upstream_qwen2_vl,
        x,
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def qwen2_5_vl_0_13(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
) -> torch.Tensor:
    return _fused(
        self,
        upstream_qwen2_5_vl,
        x,
        {},
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def qwen2_5_vl_0_17(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
) -> torch.Tensor:
    return _fused(
        self,
        upstream_qwen2_5_vl,
        x,
        {"sequence_lengths": None},
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def qwen2_5_vl_0_22(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: torch.Tensor,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    return _fused(
        self,
        upstream_qwen2_5_vl,
        x,
        {},
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
        sequence_lengths=sequence_lengths,
    )


def glm4_1v(
    self: Any,
    x: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb_cos: torch.Tensor,
    rotary_pos_emb_sin: torch.Tensor,
    max_seqlen: int | None = None,
) -> torch.Tensor:
    return _fused(
        self,
        upstream_glm4_1v,
        x,
        {},
        cu_seqlens=cu_seqlens,
        rotary_pos_emb_cos=rotary_pos_emb_cos,
        rotary_pos_emb_sin=rotary_pos_emb_sin,
        max_seqlen=max_seqlen,
    )


def kimi_k2_5_0_15(
    self: Any, hidden_states: torch.Tensor, cu_seqlens: torch.Tensor, rope_freqs_cis: torch.Tensor | None = None
) -> torch.Tensor:
    return _with_a_method(self, upstream_kimi_k2_5, hidden_states, cu_seqlens, rope_freqs_cis)


def kimi_k2_5_0_23(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rope_freqs_cis: torch.Tensor | None = None,
    max_seqlen: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    more = {"max_seqlen": max_seqlen, "sequence_lengths": sequence_lengths}
    return _with_a_method(self, upstream_kimi_k2_5, hidden_states, cu_seqlens, rope_freqs_cis, **more)


def kimi_k2_5_0_29(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rope_freqs_cis: torch.Tensor,
    max_seqlen: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    more = {"max_seqlen": max_seqlen, "sequence_lengths": sequence_lengths}
    return _with_a_method(self, upstream_kimi_k2_5, hidden_states, cu_seqlens, rope_freqs_cis, **more)
