"""Attention of multimodal encoders: lengths from the host, and everything that a layer can decide once decided once.

The class for 310P devices in vllm_ascend._310p stays as it is: no torch_npu release has the approximate op that it
prefers, so nothing can be verified against it.
"""

from __future__ import annotations

from ascend_patches.declaring.gates import absent, version_in
from ascend_patches.declaring.patch import Exemption, Option, Patch, Rewrite, Variant
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.patches.mm_encoder_attention.options import OPTIONS

_ASCEND = "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.forward_oot"
_ASCEND_MADE = "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.__init__"


def _attends_by(target: str, replace: str) -> Rewrite:
    return Rewrite(target, replace=replace, original_as="upstream_forward_oot", rank_local=True)


_ALONE = absent("vllm-ascend")
_ALONE_USES = (
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.__init__",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.forward_native",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention._forward_sdpa",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.view_qkv_to_4d",
    "vllm.v1.attention.ops.vit_attn_wrappers:vit_torch_sdpa_wrapper",
    "vllm.v1.attention.ops.vit_attn_wrappers:torch_sdpa_wrapper",
    "vllm.v1.attention.ops.vit_attn_wrappers:apply_sdpa",
)
_ASCEND_USES = (
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.__init__",
    _ASCEND_MADE,
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.reshape_qkv_to_3d",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._reshape_qkv_to_3d",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._maybe_compute_cu_seqlens",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._maybe_compute_actual_seq_lengths",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._maybe_unpad_output",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.maybe_recompute_cu_seqlens",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.compute_max_seqlen",
)
_FUSED_INFER = (
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._forward_eager_fia",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._run_vit_fia",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._maybe_pad_qkv",
    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention._restore_batch_layout",
)

PATCH = Patch(
    name="mm-encoder-attention",
    summary="encoder attention that does not wait for the device, nor decide in every layer what is decided already",
    checks="ascend_patches.patches.mm_encoder_attention.checks:CHECKS",
    tolerance=Tolerance(bfloat16=2e-2),
    why=(
        "the attention ops want sequence lengths on the host; releases copy them from the device in every layer, pad "
        "queries, keys and values in new memory, and recompute a scale that the layer was given"
    ),
    upstream=(
        "https://github.com/vllm-project/vllm-ascend/pull/6448",
        "https://github.com/vllm-project/vllm-ascend/pull/7104",
    ),
    retire="once the oldest vllm-ascend in use takes host sequence lengths for every encoder and keeps them for a call",
    options={
        "padding": Option(
            "as-upstream",
            "heads are padded with zeros to this size; as-upstream: from 64 < size < 128 to 128",
            choices=("as-upstream", "off"),
            or_any=int,
            least=1,
        ),
        "kernel": Option(
            "as-upstream",
            "the attention op; as-upstream: the one that the release calls",
            choices=(
                "as-upstream",
                "_npu_flash_attention_unpad",
                "npu_fusion_attention",
                "npu_fused_infer_attention_score",
            ),
        ),
    },
    configure=OPTIONS.choose,
    exemptions=(
        Exemption(
            version_in("vllm", "<0.13"), "this layer is there from vLLM 0.13 on; before, every model has its own"
        ),
    ),
    variants=(
        Variant(
            "vllm-0.13",
            gate=version_in("vllm", ">=0.13,<0.14") & _ALONE,
            rewrites=(
                _attends_by(
                    "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention.forward_oot",
                    "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_of_vllm_0_13",
                ),
            ),
            relies_on=(
                "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention.__init__",
                "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention.forward_native",
                "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention._forward_sdpa",
                "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention.reshape_qkv_to_4d",
                "vllm.attention.ops.vit_attn_wrappers:vit_torch_sdpa_wrapper",
                "vllm.attention.ops.vit_attn_wrappers:torch_sdpa_wrapper",
            ),
        ),
        Variant(
            "vllm-0.14",
            gate=version_in("vllm", ">=0.14") & _ALONE,
            rewrites=(
                _attends_by(
                    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.forward_oot",
                    "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_of_vllm",
                ),
            ),
            relies_on=_ALONE_USES,
        ),
        Variant(
            "vllm-ascend-0.13",
            gate=version_in("vllm-ascend", ">=0.13,<0.15"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_13"),
            ),
            relies_on=(
                "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention.__init__",
                *_ASCEND_USES,
                "vllm_ascend.utils:get_ascend_device_type",
            ),
        ),
        Variant(
            "vllm-ascend-0.15",
            gate=version_in("vllm-ascend", ">=0.15,<0.16"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_15"),
                Rewrite(
                    _ASCEND_MADE,
                    replace="ascend_patches.patches.mm_encoder_attention.replacements:init_0_15",
                    original_as="upstream_init",
                ),
            ),
            relies_on=(*_ASCEND_USES, "vllm_ascend.utils:get_ascend_device_type"),
        ),
        Variant(
            "vllm-ascend-0.16",
            gate=version_in("vllm-ascend", ">=0.16,<0.18"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_15"),
            ),
            relies_on=_ASCEND_USES,
        ),
        Variant(
            "vllm-ascend-0.18",
            gate=version_in("vllm-ascend", ">=0.18,<0.19"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_18"),
            ),
            relies_on=_ASCEND_USES,
        ),
        Variant(
            "vllm-ascend-0.19",
            gate=version_in("vllm-ascend", ">=0.19,<0.22"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_19"),
            ),
            relies_on=(
                *_ASCEND_USES,
                "vllm_ascend.device.device_op:BaseDeviceAdaptor.npu_flash_attention",
                "vllm_ascend.device.device_op:A5DeviceAdaptor.npu_flash_attention",
            ),
        ),
        Variant(
            "vllm-ascend-0.22",
            gate=version_in("vllm-ascend", ">=0.22,<0.23"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_22"),
            ),
            relies_on=(*_ASCEND_USES, *_FUSED_INFER),
        ),
        Variant(
            "vllm-ascend-0.23",
            gate=version_in("vllm-ascend", ">=0.23"),
            rewrites=(
                _attends_by(_ASCEND, "ascend_patches.patches.mm_encoder_attention.replacements:forward_oot_0_22"),
                Rewrite(
                    "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.maybe_compute_seq_lens",
                    replace="ascend_patches.patches.mm_encoder_attention.replacements:maybe_compute_seq_lens",
                    compared=False,
                ),
            ),
            relies_on=(
                *_ASCEND_USES,
                *_FUSED_INFER,
                "vllm.model_executor.custom_op:maybe_get_oot_by_class",
                "vllm_ascend.worker.encoder_acl_graph:get_encoder_forward_context",
                "vllm_ascend.worker.encoder_acl_graph:maybe_compute_actual_seq_lengths",
            ),
        ),
    ),
)
