"""The ops of torch_npu that encoders call, on another device than an NPU: plain torch that waits for nothing.

For timing only. Like the real ops they take lengths from the host, so whoever reads these from the device waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional


def install(device: str) -> list[torch.library.Library]:
    """Register them for a device; they are gone with what is returned."""
    libraries = []
    for op, function in _OPS.items():
        namespace, name = op.split("::")
        library = torch.library.Library(namespace, "IMPL")
        library.impl(name, function, device.upper())
        libraries.append(library)
    return libraries


def rotary_mul(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: str = "half") -> torch.Tensor:
    if mode == "half":
        one, other = x.chunk(2, dim=-1)
        turned = torch.cat((-other, one), dim=-1)
    else:
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return x * cos + turned * sin


def flash_attention_unpad(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    out.copy_(_attention(query, key, value, list(accumulate(seq_len.tolist())), scale_value))


def fusion_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    head_num: int,
    input_layout: str,
    pse: None = None,
    padding_mask: None = None,
    atten_mask: None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = 0,
    next_tockens: int = 0,
    inner_precise: int = 0,
    prefix: None = None,
    actual_seq_qlen: Sequence[int] = (),
    *_: Any,
) -> tuple[Any, ...]:
    output = _attention(query, key, value, actual_seq_qlen, scale)
    nothing = query.new_empty(0)
    return output, nothing, nothing, nothing, 0, 0, 0


def fused_infer_attention_score(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    actual_seq_lengths: Sequence[int] = (),
    scale: float = 1.0,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    return _attention(query, key, value, actual_seq_lengths, scale), query.new_empty(0)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends: Sequence[int], scale: float
) -> torch.Tensor:
    """[tokens, heads, size], where sequences with queries and keys of the same lengths lie one behind the other."""
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *(each[begin:end].transpose(0, 1).unsqueeze(0) for each in (query, key, value)), scale=scale
        )
        for begin, end in pairwise([0, *ends])
    ]
    return torch.cat(parts, dim=2).squeeze(0).transpose(0, 1).contiguous()


_OPS = {
    "npu::npu_rotary_mul": rotary_mul,
    "npu::npu_fusion_attention": fusion_attention,
    "npu::npu_fused_infer_attention_score": fused_infer_attention_score,
    "atb::_npu_flash_attention_unpad": flash_attention_unpad,
}
