"""The attention ops of torch_npu that encoders use, called alike, on packed tensors [tokens, heads, size].

Keys and values come with their own heads: every one of these ops shares a key head among query heads by itself. What
layers have in common is bound once; a layer gives its query, key and value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from ascend_patches.npu.host_lengths import Lengths

FLASH_ATTENTION_UNPAD = "_npu_flash_attention_unpad"
FUSION_ATTENTION = "npu_fusion_attention"
FUSED_INFER_ATTENTION = "npu_fused_infer_attention_score"

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention of a query, a key and a value."""

_NO_WINDOW = 2147483647
_BLOCK_SIZE = 128


class Common(NamedTuple):
    """What all the ops are given beside the tensors."""

    lengths: Lengths
    key_lengths: Lengths
    heads: int
    kv_heads: int
    scale: float


def suited(kernel: str, common: Common, dtype: torch.dtype) -> str:
    """That kernel, or the fusion op, to which releases give what the kernel does not take."""
    # It has one list of lengths, and no float32.
    one_list = common.lengths is common.key_lengths and dtype != torch.float32
    return FUSION_ATTENTION if kernel == FLASH_ATTENTION_UNPAD and not one_list else kernel


# Arguments go by keyword where the releases give them so: what they hand on to may be another's function, with its own
# order and its own defaults. The ops are looked up in torch_npu when they are bound: it replaces its own attributes.


def flash_attention_unpad(common: Common, out: torch.Tensor | None = None) -> Attend:
    """For queries and keys of the same lengths, in half precision; writes into ``out``."""
    import torch_npu

    op = partial(
        torch_npu._npu_flash_attention_unpad,
        seq_len=common.lengths.tensor,
        scale_value=common.scale,
        num_heads=common.heads,
        num_kv_heads=common.kv_heads,
    )

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        # Not empty_like: the op wants a contiguous output, also for a query that is not.
        result = query.new_empty(query.shape) if out is None else out
        op(query=query, key=key, value=value, out=result)
        return result

    return attend


def fusion_attention(common: Common, out: torch.Tensor | None = None) -> Attend:
    """In memory of its own."""
    import torch_npu

    ends, key_ends = _ends(torch_npu.npu_fusion_attention, common)
    op = partial(
        torch_npu.npu_fusion_attention,
        head_num=common.heads,
        input_layout="TND",
        scale=common.scale,
        actual_seq_qlen=ends,
        actual_seq_kvlen=key_ends,
    )

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = op(query=query, key=key, value=value)[0]
        return result

    return attend


def fused_infer_attention(common: Common, out: torch.Tensor | None = None) -> Attend:
    """In memory of its own."""
    import torch_npu

    ends, key_ends = _ends(torch_npu.npu_fused_infer_attention_score, common)
    op = partial(
        torch_npu.npu_fused_infer_attention_score,
        atten_mask=None,
        block_table=None,
        input_layout="TND",
        block_size=_BLOCK_SIZE,
        actual_seq_lengths=ends,
        actual_seq_lengths_kv=key_ends,
        num_key_value_heads=common.kv_heads,
        num_heads=common.heads,
        scale=common.scale,
        sparse_mode=0,
        pre_tokens=_NO_WINDOW,
        next_tokens=_NO_WINDOW,
    )

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        # The op takes keys and values for contiguous, and reads past them where they are not.
        result: torch.Tensor = op(query=query.contiguous(), key=key.contiguous(), value=value.contiguous())[0]
        return result

    return attend


def _ends(op: Any, common: Common) -> tuple[Any, Any]:
    """Where queries and keys end, as an op takes them with the least work; another party's may look into a list."""
    if type(op) is torch._ops.OpOverloadPacket:
        return common.lengths.ends_of_torch, common.key_lengths.ends_of_torch
    return common.lengths.ends, common.key_lengths.ends


KERNELS: dict[str, Callable[[Common, torch.Tensor | None], Attend]] = {
    FLASH_ATTENTION_UNPAD: flash_attention_unpad,
    FUSION_ATTENTION: fusion_attention,
    FUSED_INFER_ATTENTION: fused_infer_attention,
}


def available(kernel: str) -> bool:
    """Whether this process has a torch_npu with that op."""
    return hasattr(sys.modules.get("torch_npu"), kernel)
