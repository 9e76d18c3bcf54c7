"""MLA decode of vllm-ascend 0.9.1rc1 on the two streams of a torchair graph.

Every wait hands on the tensor that waited, and that one is used: in a graph, an unused result goes, and what
it waited for with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from vllm_ascend.attention.attention_v1 import AscendAttentionState
from vllm_ascend.utils import npu_stream_switch, npu_wait_tensor

from ascend_patches.npu.mla_prefetch import prefetch
from ascend_patches.patches.mla_multistream import mla_decode
from ascend_patches.patches.mla_multistream.graph_cache import is_named

if TYPE_CHECKING:

    def upstream_attention_forward(attention: Any, *args: Any) -> Any: ...
    def upstream_impl_forward(impl: Any, *args: Any) -> Any: ...


_SECOND_STREAM = "mla_secondary"
_DECODING = (AscendAttentionState.DecodeOnly, AscendAttentionState.SpecDecoding)


def attention_forward(
    self: Any, positions: torch.Tensor, hidden_states: torch.Tensor, kv_cache: Any = None, attn_metadata: Any = None
) -> Any:
    if not _decodes_on_two_streams(self, attn_metadata):
        return upstream_attention_forward(self, positions, hidden_states, kv_cache, attn_metadata)
    prefetch(self.q_a_proj.weight, hidden_states)
    ckq = self.q_a_proj(hidden_states)[0]
    q_c = self.q_a_layernorm(ckq)
    output = self.mla_attn.impl.forward(
        self.mla_attn, q_c, hidden_states, None, kv_cache, attn_metadata, output=hidden_states, ckq=ckq
    )
    return output.view(-1, hidden_states.shape[-1])


def _decodes_on_two_streams(attention: Any, metadata: Any) -> bool:
    return bool(
        attention.enable_multistream_mla
        and attention.torchair_graph_enabled
        and attention.q_lora_rank is not None
        and metadata is not None
        and metadata.num_decodes > 0
        and metadata.num_prefills == 0
        and metadata.attn_state in _DECODING
        # While another rank prefills, the step is not run as a graph, and outside of one a wait means nothing.
        and not metadata.with_prefill_across_dp
        and is_named(attention)
    )


def impl_forward(
    self: Any,
    layer: Any,
    hidden_states_or_q_c: torch.Tensor,
    hidden_states_or_kv_c_normed: torch.Tensor,
    k_pe: Any,
    kv_cache: Any,
    attn_metadata: Any,
    output: Any = None,
    ckq: torch.Tensor | None = None,
) -> Any:
    # Only attention_forward has ckq to give; the attention of dual-batch overlap comes here without.
    if ckq is None:
        return upstream_impl_forward(
            self, layer, hidden_states_or_q_c, hidden_states_or_kv_c_normed, k_pe, kv_cache, attn_metadata, output
        )
    q_c, hidden_states = hidden_states_or_q_c, hidden_states_or_kv_c_normed
    cos, sin = mla_decode.rotary_rows(self.rotary_emb, attn_metadata.decode.input_positions, q_c.dtype)
    with npu_stream_switch(_SECOND_STREAM, 0):
        hidden_states = npu_wait_tensor(hidden_states, ckq)
        kv = self.kv_a_proj_with_mqa(hidden_states)[0]
        k_pe, k_nope = mla_decode.write_cache(self, kv, cos, sin, kv_cache, attn_metadata.slot_mapping)
    # Else the query's matrices could go first, and the cache would be written with nothing left to do beside it.
    for ready in (cos, sin, kv):
        q_c = npu_wait_tensor(q_c, ready)
    q_nope, q_pe = self._q_proj_and_k_up_proj(q_c)
    with npu_stream_switch(_SECOND_STREAM, 0):
        q_pe = npu_wait_tensor(q_pe, k_pe)
        q_pe = self.rope_single(q_pe, cos, sin)
    attended = mla_decode.attend(self, q_nope, q_pe, k_nope, k_pe, kv_cache[0].shape[1], attn_metadata)
    return mla_decode.project(self, attended)
