"""mla-multistream: in MLA decode, the keys' and values' work beside the query's, weights fetched before their use."""

from __future__ import annotations

from ascend_patches.declaring.gates import absent, version_in
from ascend_patches.declaring.patch import Exemption, Patch, Rewrite, Variant

PATCH = Patch(
    name="mla-multistream",
    summary="MLA decode writes its cache on the second stream, and prefetches q_a_proj and o_proj",
    checks="ascend_patches.patches.mla_multistream.checks:CHECKS",
    why=(
        "with enable_multistream_mla, 0.9.1rc1 still projects keys and values on the query's stream, after the query: "
        "only small operations are left to overlap; and it reads the weights of q_a_proj and o_proj when they are due"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/1353",),
    retire="with the last deployment of vllm-ascend 0.9.1rc1",
    variants=(
        Variant(
            "0.9.1rc1",
            gate=version_in("vllm-ascend", "==0.9.1rc1"),
            rewrites=(
                Rewrite(
                    "vllm_ascend.models.deepseek_v2:CustomDeepseekV2MLAAttention.forward",
                    replace="ascend_patches.patches.mla_multistream.replacements:attention_forward",
                    original_as="upstream_attention_forward",
                ),
                Rewrite(
                    "vllm_ascend.attention.mla_v1:AscendMLAImpl.forward",
                    replace="ascend_patches.patches.mla_multistream.replacements:impl_forward",
                    original_as="upstream_impl_forward",
                ),
                Rewrite(
                    "vllm_ascend.models.deepseek_v2:CustomDeepseekV2MLAAttention.__init__",
                    around="ascend_patches.patches.mla_multistream.graph_cache:name_in_text",
                ),
            ),
            relies_on=(
                "vllm_ascend.attention.mla_v1:AscendMLAImpl.__init__",
                "vllm_ascend.attention.mla_v1:AscendMLAImpl.exec_kv",
                "vllm_ascend.attention.mla_v1:AscendMLAImpl.rope_single",
                "vllm_ascend.attention.mla_v1:AscendMLAImpl._q_proj_and_k_up_proj",
                "vllm_ascend.attention.mla_v1:AscendMLAImpl._forward_decode",
                "vllm_ascend.attention.mla_v1:AscendMLAImpl._v_up_proj_and_o_proj",
                "vllm.attention.layer:Attention.__init__",
                "vllm.model_executor.layers.rotary_embedding:RotaryEmbedding.__init__",
                "vllm.model_executor.models.deepseek_v2:DeepseekV2MLAAttention.__init__",
                "vllm_ascend.utils:npu_stream_switch",
                "vllm_ascend.utils:npu_wait_tensor",
            ),
        ),
    ),
    exemptions=(
        Exemption(absent("vllm-ascend"), "MLA on an NPU is vllm-ascend's, which is not installed"),
        Exemption(version_in("vllm-ascend", "<0.9.1rc1"), "MLA decode has one stream before vllm-ascend 0.9.1rc1"),
        Exemption(
            version_in("vllm-ascend", ">0.9.1rc1,<0.10.1"),
            "native since vllm-ascend 0.9.1rc2, switched on by enable_multistream_mla",
            native=True,
        ),
        Exemption(
            version_in("vllm-ascend", ">=0.10.1,<0.12"),
            "native since vllm-ascend 0.9.1rc2; from 0.10.1 to 0.11 in vllm_ascend.torchair.torchair_mla",
            native=True,
        ),
        Exemption(
            version_in("vllm-ascend", ">=0.12,<0.13"),
            "torchair, whose graphs have the streams, was dropped in vllm-ascend 0.12",
        ),
        Exemption(
            version_in("vllm-ascend", ">=0.13"),
            "torchair, whose graphs have the streams, was dropped in vllm-ascend 0.12; see mla-kv-overlap",
        ),
    ),
)
