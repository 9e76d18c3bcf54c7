"""The attention ops of torch_npu that encoders use, called alike, on packed tensors [tokens, heads, size].

Keys and values come with their own heads: every one of these ops shares a key head among query heads by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import torch

from ascend_patches.npu.host_lengths import Lengths

FLASH_ATTENTION_UNPAD = "_npu_flash_attention_unpad"
FUSION_ATTENTION = "npu_fusion_attention"
FUSED_INFER_ATTENTION = "npu_fused_infer_attention_score"


class Call(NamedTuple):
    """One attention: what all the ops are told."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    lengths: Lengths
    key_lengths: Lengths
    heads: int
    kv_heads: int
    scale: float


# The ops are looked up in torch_npu whenever they are called: it replaces its own attributes on the first such call.


def fits_flash_attention_unpad(call: Call) -> bool:
    """Whether that op takes the call: it has one list of lengths, and no float32."""
    return call.lengths is call.key_lengths and call.query.dtype != torch.float32


def flash_attention_unpad(call: Call, out: torch.Tensor | None = None) -> torch.Tensor:
    """For queries and keys of the same lengths, in half precision; writes into ``out``."""
    import torch_npu

    # Not empty_like: the op wants a contiguous output, also for a query that is not.
    result = call.query.new_empty(call.query.shape) if out is None else out
    torch_npu._npu_flash_attention_unpad(
        query=call.query,
        key=call.key,
        value=call.value,
        seq_len=call.lengths.tensor,
        scale_value=call.scale,
        num_heads=call.heads,
        num_kv_heads=call.kv_heads,
        out=result,
    )
    return result


def fusion_attention(call: Call) -> torch.Tensor:
    import torch_npu

    result: torch.Tensor = torch_npu.npu_fusion_attention(
        call.query,
        call.key,
        call.value,
        call.heads,
        "TND",
        scale=call.scale,
        actual_seq_qlen=call.lengths.ends,
        actual_seq_kvlen=call.key_lengths.ends,
    )[0]
    return result


def fused_infer_attention(call: Call) -> torch.Tensor:
    import torch_npu

    result: torch.Tensor = torch_npu.npu_fused_infer_attention_score(
        call.query.contiguous(),
        call.key.contiguous(),
        call.value.contiguous(),
        actual_seq_lengths=call.lengths.ends,
        actual_seq_lengths_kv=call.key_lengths.ends,
        num_heads=call.heads,
        num_key_value_heads=call.kv_heads,
        scale=call.scale,
        input_layout="TND",
    )[0]
    return result


KERNELS: dict[str, Callable[[Call], torch.Tensor]] = {
    FLASH_ATTENTION_UNPAD: flash_attention_unpad,
    FUSION_ATTENTION: fusion_attention,
    FUSED_INFER_ATTENTION: fused_infer_attention,
}


def available(kernel: str) -> bool:
    """Whether this process has a torch_npu with that op."""
    return hasattr(sys.modules.get("torch_npu"), kernel)
