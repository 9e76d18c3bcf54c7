"""The parts of a decode step that vllm-ascend 0.9.1rc1 has only inside longer methods of ``AscendMLAImpl``."""

from __future__ import annotations

from typing import Any

import torch
import torch_npu
from vllm_ascend.attention.attention_v1 import AscendAttentionState

from ascend_patches.npu.mla_prefetch import LARGEST_OUTPUT_PROJECTION, prefetch

Pair = tuple[torch.Tensor, torch.Tensor]


def rotary_rows(rotary: Any, positions: torch.Tensor, dtype: torch.dtype) -> Pair:
    """cos and sin of the positions, [tokens, 1, 1, rope size]."""
    length = rotary.max_position_embeddings
    cos = rotary.cos_cached[:length].to(dtype=dtype)[positions]
    sin = rotary.sin_cached[:length].to(dtype=dtype)[positions]
    return cos[:, None, None, :], sin[:, None, None, :]


def write_cache(
    impl: Any, kv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, kv_cache: Any, slots: torch.Tensor
) -> Pair:
    """The caches of rotary keys and of latents, with the rows of this step."""
    k_pe, k_nope, _, _ = torch_npu.npu_kv_rmsnorm_rope_cache(
        kv.view(kv.shape[0], impl.num_kv_heads, 1, impl.kv_lora_rank + impl.qk_rope_head_dim),
        impl.kv_a_layernorm.weight,
        cos,
        sin,
        slots.to(torch.int64),
        kv_cache[1],
        kv_cache[0],
        epsilon=impl.kv_a_layernorm.variance_epsilon,
        cache_mode="PA_NZ" if impl.enable_kv_nz else "PA",
    )
    return k_pe, k_nope


def attend(
    impl: Any,
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    k_nope: torch.Tensor,
    k_pe: torch.Tensor,
    block_size: int,
    metadata: Any,
) -> torch.Tensor:
    """Attention of this step's queries to the caches, in the latent space."""
    speculating = metadata.attn_state == AscendAttentionState.SpecDecoding
    tokens = impl.spec_token_num + 1 if speculating else 1
    q_nope, q_pe = (_queries(impl, query, tokens) for query in (q_nope, q_pe))
    output, _ = torch_npu.npu_fused_infer_attention_score(
        q_nope,
        latents := _keys(impl, k_nope, impl.kv_lora_rank, block_size),
        latents,
        query_rope=q_pe,
        key_rope=_keys(impl, k_pe, impl.qk_rope_head_dim, block_size),
        num_heads=impl.num_heads,
        num_key_value_heads=impl.num_kv_heads,
        input_layout="BSND" if impl.enable_kv_nz else "BNSD",
        atten_mask=metadata.decode.attn_mask if speculating else None,
        sparse_mode=3 if speculating else 0,
        scale=impl.scale,
        antiquant_mode=0,
        antiquant_scale=None,
        block_table=metadata.decode.block_table,
        block_size=block_size,
        actual_seq_lengths_kv=metadata.decode.seq_lens_list,
    )
    return output


def _queries(impl: Any, query: torch.Tensor, tokens: int) -> torch.Tensor:
    """[requests, tokens, heads, size] for caches in the device's own format, else heads before tokens."""
    requests = query.shape[0] // tokens
    if impl.enable_kv_nz:
        return query.view(requests, tokens, impl.num_heads, -1)
    if tokens == 1:
        return query.view(requests, impl.num_heads, 1, -1)
    return query.view(requests, tokens, impl.num_heads, -1).transpose(1, 2).contiguous()


def _keys(impl: Any, cache: torch.Tensor, size: int, block_size: int) -> torch.Tensor:
    if impl.enable_kv_nz:
        return cache.view(-1, impl.num_kv_heads, size // 16, block_size, 16)
    return cache.view(-1, impl.num_kv_heads, block_size, size)


def project(impl: Any, attended: torch.Tensor) -> torch.Tensor:
    """From the latent space to the hidden states, o_proj's weight being fetched while the values are projected up."""
    attended = attended.view(-1, impl.num_heads, impl.kv_lora_rank).transpose(0, 1)
    values = torch.bmm(attended, impl.W_UV).transpose(0, 1).reshape(-1, impl.num_heads * impl.v_head_dim)
    prefetch(impl.o_proj.weight, values, LARGEST_OUTPUT_PROJECTION)
    output: torch.Tensor = impl.o_proj(values)[0]
    return output
