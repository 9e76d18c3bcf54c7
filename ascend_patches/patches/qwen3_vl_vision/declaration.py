"""qwen3-vl-vision: the vision encoder of Qwen3-VL, with nothing in a layer that a forward can do once.

Its attention is that of Qwen2.5-VL and Qwen3-Omni too, and serves them where Qwen3-VL itself is never imported.
"""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_ENCODER_FORWARD = "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.forward"
_ENCODER_0_13 = "ascend_patches.patches.qwen3_vl_vision.replacements:forward_0_13"
_ENCODER_0_17 = "ascend_patches.patches.qwen3_vl_vision.replacements:forward_0_17"
_ENCODER_0_18 = "ascend_patches.patches.qwen3_vl_vision.replacements:forward_0_18"
_ENCODER_0_19 = "ascend_patches.patches.qwen3_vl_vision.replacements:forward_0_19"

_ATTENTION_FORWARD = "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionAttention.forward"
_ATTENTION_USES = (
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionAttention.__init__",
    # Which is not called where a replacement stands behind it.
    "vllm.model_executor.custom_op:CustomOp.forward",
)
_ATTENTION_0_13 = "ascend_patches.npu.vision_attention:forward_0_13"
_ATTENTION_0_17 = "ascend_patches.npu.vision_attention:forward_0_17"

_PREPARED = "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.prepare_encoder_metadata"
_LONGEST = "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.compute_attn_mask_seqlen"
_POSITIONS = "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.fast_pos_embed_interpolate"
_OF_VLLM_ASCEND = {_POSITIONS: ("74ccc3f98d92074e",)}
"""What vllm-ascend puts in its place in a worker, from 0.19 on; it calls the function below."""
_INTERPOLATED = "vllm.model_executor.models.qwen3_vl:pos_embed_interpolate_native"
_LENGTHS = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_compute_sequence_lengths"
_LONGEST_OF_LAYER = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.compute_max_seqlen"
_LENGTHS_OF_LAYER = (
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_compute_seq_lens"
)
_RECOMPUTED = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_recompute_cu_seqlens"
_HOOKS_0_17 = (_LONGEST_OF_LAYER, _LENGTHS, _RECOMPUTED)
_HOOKS_0_18 = (_LONGEST_OF_LAYER, _LENGTHS_OF_LAYER, _RECOMPUTED)
_ALWAYS = (
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.__init__",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.rot_pos_emb",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.rot_pos_ids",
    "vllm.model_executor.layers.rotary_embedding.base:RotaryEmbedding.get_cos_sin",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.device",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer.dtype",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionPatchEmbed.forward",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionBlock.forward",
    "vllm.model_executor.models.qwen3_vl:Qwen3_VisionPatchMerger.forward",
    *_ATTENTION_USES,
)


def _variant(name: str, versions: str, encoder: str, attention: str, *, relies_on: tuple[str, ...]) -> Variant:
    whole = Rewrite(_ENCODER_FORWARD, replace=encoder, original_as="upstream_forward")
    layer = Rewrite(_ATTENTION_FORWARD, replace=attention, original_as="upstream_forward")
    return Variant(
        name,
        gate=version_in("vllm", versions),
        parts=(
            Part("attention of Qwen2.5 and Qwen3", (layer,), _ATTENTION_USES),
            Part("Qwen3-VL", (whole, layer), (*_ALWAYS, *relies_on)),
        ),
        known=_OF_VLLM_ASCEND,
    )


PATCH = Patch(
    name="qwen3-vl-vision",
    summary="the vision encoder of Qwen3-VL does once per forward what its layers have in common",
    checks="ascend_patches.patches.qwen3_vl_vision.checks:CHECKS",
    why=(
        "sequence lengths are known on the host before the first layer, and yet most releases read them back from the "
        "device in every layer; position embeddings are computed image by image, queries and keys are copied before "
        "they are turned and padded after it, and every linear layer carries a batch of one along"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/7104",),
    retire="once the oldest vllm-ascend in use hands host sequence lengths to the encoder attention of Qwen3-VL",
    variants=(
        _variant("vllm-0.13", ">=0.13,<0.17", _ENCODER_0_13, _ATTENTION_0_13, relies_on=(_LONGEST, _POSITIONS)),
        _variant("vllm-0.17", ">=0.17,<0.18", _ENCODER_0_17, _ATTENTION_0_17, relies_on=(*_HOOKS_0_17, _POSITIONS)),
        _variant(
            "vllm-0.18",
            ">=0.18,<0.19",
            _ENCODER_0_18,
            _ATTENTION_0_17,
            relies_on=(*_HOOKS_0_18, _POSITIONS),
        ),
        _variant(
            "vllm-0.19",
            ">=0.19,<0.20",
            _ENCODER_0_19,
            _ATTENTION_0_17,
            relies_on=(_PREPARED, *_HOOKS_0_18, _POSITIONS),
        ),
        _variant(
            "vllm-0.20",
            ">=0.20",
            _ENCODER_0_19,
            _ATTENTION_0_17,
            relies_on=(_PREPARED, *_HOOKS_0_18, _POSITIONS, _INTERPOLATED),
        ),
    ),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "vLLM has no Qwen3-VL whose attention this could serve"),),
)
