"""vision-seq-lens: what qwen3-vl-vision does about sequence lengths, for the other encoders."""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_ONE_CALL = "ascend_patches.npu.vision_transformers:one_call"
_ONE_CALL_OF_CLIPS = "ascend_patches.npu.vision_transformers:one_call_of_clips"
_FRAMES_PREPARED = "ascend_patches.npu.vision_transformers:frames_prepared"
_CLIPS_PREPARED = "ascend_patches.npu.vision_transformers:clips_prepared"

_TABLES = "vllm.model_executor.layers.rotary_embedding.base:RotaryEmbedding.get_cos_sin"
_SEQUENCES = (
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.compute_max_seqlen",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_compute_seq_lens",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_recompute_cu_seqlens",
)


def _made_in_forward(name: str, forward: str, advice: str) -> Part:
    """A model that computes its sequences within its forward."""
    return Part(name, (Rewrite(forward, around=advice),))


def _prepared_apart(name: str, forward: str, advice: str, prepare: str, prepared: str) -> Part:
    """A model that computes its sequences in a method of their own."""
    return Part(name, (Rewrite(forward, around=advice), Rewrite(prepare, around=prepared, compared=False)))


def _replaced(name: str, forward: str, replace: str, *relies_on: str) -> Part:
    """A model whose whole forward is replaced."""
    return Part(name, (Rewrite(forward, replace=replace, original_as="upstream_forward"),), relies_on)


def _replaced_and_prepared(name: str, forward: str, replace: str, prepare: str, *relies_on: str) -> Part:
    """The same, with a method that computes its sequences: for graphs, and for models that have it from this one."""
    whole = Rewrite(forward, replace=replace, original_as="upstream_forward")
    return Part(name, (whole, Rewrite(prepare, around=_FRAMES_PREPARED, compared=False)), relies_on)


def _omni(replace: str, *relies_on: str) -> Part:
    return _replaced(
        "Qwen3-Omni",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.forward",
        replace,
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.__init__",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.device",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.dtype",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3_VisionBlock.__init__",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.rot_pos_emb",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.fast_pos_embed_interpolate",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer.compute_attn_mask_seqlen",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3_VisionPatchEmbed.forward",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3_VisionBlock.forward",
        "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3_VisionPatchMerger.forward",
        _TABLES,
        *relies_on,
    )


_OMNI_0_13 = _omni("ascend_patches.patches.vision_seq_lens.qwen3_omni:forward_0_13")
_OMNI_0_17 = _omni(
    "ascend_patches.patches.vision_seq_lens.qwen3_omni:forward_0_17",
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_compute_sequence_lengths",
)
_OMNI_0_18 = _omni("ascend_patches.patches.vision_seq_lens.qwen3_omni:forward_0_18")
_OMNI_0_24 = _omni("ascend_patches.patches.vision_seq_lens.qwen3_omni:forward_0_24")
_AUDIO = _replaced(
    "Qwen3-Omni's audio",
    "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder.forward",
    "ascend_patches.patches.vision_seq_lens.qwen3_omni_audio:forward",
    "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder.__init__",
    "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder.compute_attn_mask_seqlen",
    "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder._get_cnn_output_lengths",
    "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoderLayer.forward",
)

_CALLED_BY_MODULES = "vllm.model_executor.custom_op:CustomOp.forward"
"""What the submodules of an attention would go through, which are not called where a replacement is behind them."""

_QWEN2 = "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.forward"
_QWEN2_ATTENTION = Part(
    "attention of Qwen2-VL",
    (
        Rewrite(
            "vllm.model_executor.models.qwen2_vl:Qwen2VisionAttention.forward",
            replace="ascend_patches.patches.vision_seq_lens.qwen2_vl:attention_forward",
            original_as="upstream_attention_forward",
        ),
    ),
    (
        "vllm.model_executor.models.qwen2_vl:Qwen2VisionAttention.__init__",
        "vllm.model_executor.models.qwen2_vl:Qwen2VisionAttention.split_qkv",
        _CALLED_BY_MODULES,
    ),
)
_QWEN2_CALLED = (
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.__init__",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.device",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.dtype",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.rot_pos_emb",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.compute_attn_mask_seqlen",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionPatchEmbed.forward",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionBlock.forward",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionPatchMerger.forward",
    _TABLES,
)
_QWEN2_METADATA = "vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer.prepare_encoder_metadata"
_QWEN2_MADE = _replaced(
    "Qwen2-VL", _QWEN2, "ascend_patches.patches.vision_seq_lens.qwen2_vl:forward_0_13", *_QWEN2_CALLED
)
_QWEN2_0_22 = _replaced_and_prepared(
    "Qwen2-VL",
    _QWEN2,
    "ascend_patches.patches.vision_seq_lens.qwen2_vl:forward_0_22",
    _QWEN2_METADATA,
    *_QWEN2_CALLED,
)
_QWEN2_0_23 = _replaced_and_prepared(
    "Qwen2-VL",
    _QWEN2,
    "ascend_patches.patches.vision_seq_lens.qwen2_vl:forward_0_23",
    _QWEN2_METADATA,
    *_QWEN2_CALLED,
)

_QWEN2_5 = "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.forward"
_QWEN2_5_CALLED = (
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.__init__",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.device",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.dtype",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.invert_permutation",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.rotary_pos_emb_thw",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.get_window_index_thw",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.get_rope_by_thw",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionPatchEmbed.forward",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionBlock.forward",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionPatchMerger.forward",
)
_QWEN2_5_LONGEST = "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.compute_attn_mask_seqlen"
_QWEN2_5_METADATA = "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer.prepare_encoder_metadata"
_QWEN2_5_MADE = _replaced(
    "Qwen2.5-VL",
    _QWEN2_5,
    "ascend_patches.patches.vision_seq_lens.qwen2_5_vl:forward_0_13",
    *_QWEN2_5_CALLED,
    _QWEN2_5_LONGEST,
)
_QWEN2_5_PREPARED = _replaced(
    "Qwen2.5-VL",
    _QWEN2_5,
    "ascend_patches.patches.vision_seq_lens.qwen2_5_vl:forward_0_21",
    *_QWEN2_5_CALLED,
    _QWEN2_5_LONGEST,
    _QWEN2_5_METADATA,
)
_QWEN2_5_HOOKED = _replaced(
    "Qwen2.5-VL",
    _QWEN2_5,
    "ascend_patches.patches.vision_seq_lens.qwen2_5_vl:forward_0_22",
    *_QWEN2_5_CALLED,
    _QWEN2_5_METADATA,
    *_SEQUENCES,
)

_GLM_ATTENTION = Part(
    "attention of GLM-4.1V",
    (
        Rewrite(
            "vllm.model_executor.models.glm4_1v:Glm4vVisionAttention.forward",
            replace="ascend_patches.patches.vision_seq_lens.glm4_1v:attention_forward",
            original_as="upstream_attention_forward",
        ),
    ),
    (
        "vllm.model_executor.models.glm4_1v:Glm4vVisionAttention.__init__",
        "vllm.model_executor.models.glm4_1v:Glm4vVisionAttention.split_qkv",
        _CALLED_BY_MODULES,
    ),
)
_GLM = "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.forward"
_GLM_CALLED = (
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.__init__",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.device",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.dtype",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.rot_pos_emb",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.compute_attn_mask_seqlen",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionPatchEmbed.forward",
    "vllm.model_executor.models.glm4_1v:Glm4vPatchMerger.forward",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionEmbeddings.__init__",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionEmbeddings.forward",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionBlock.forward",
    _TABLES,
)
_GLM_MADE = _replaced("GLM-4.1V", _GLM, "ascend_patches.patches.vision_seq_lens.glm4_1v:forward_0_13", *_GLM_CALLED)
_GLM_0_24 = _replaced_and_prepared(
    "GLM-4.1V",
    _GLM,
    "ascend_patches.patches.vision_seq_lens.glm4_1v:forward_0_24",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.prepare_encoder_metadata",
    *_GLM_CALLED,
    "vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer.pos_embeds_interpolate",
    *_SEQUENCES,
)

_KIMI = "vllm.model_executor.models.kimi_k25_vit:MoonViT3dEncoder.forward"
_KIMI_MADE = _made_in_forward("Kimi-K2.5", _KIMI, _ONE_CALL_OF_CLIPS)
# Its vision tower prepares before it calls the encoder, so the encoder's forward has to say the lengths as well.
_KIMI_PREPARED = _prepared_apart(
    "Kimi-K2.5",
    _KIMI,
    _ONE_CALL_OF_CLIPS,
    "vllm.model_executor.models.kimi_k25_vit:MoonViT3dEncoder.prepare_encoder_metadata",
    _CLIPS_PREPARED,
)


def _kimi_attention(replace: str, *relies_on: str) -> Part:
    return Part(
        "attention of Kimi-K2.5",
        (
            Rewrite(
                "vllm.model_executor.models.kimi_k25_vit:MoonViTEncoderLayer.attention_qkvpacked",
                replace=replace,
                original_as="upstream_attention",
            ),
        ),
        ("vllm.model_executor.models.kimi_k25_vit:MoonViTEncoderLayer.__init__", _CALLED_BY_MODULES, *relies_on),
    )


_KIMI_ROPE = (
    "vllm.model_executor.models.kimi_k25_vit:apply_rope",
    "vllm.model_executor.models.kimi_k25_vit:_apply_rope_input_validation",
)
_KIMI_0_15 = (
    _KIMI_MADE,
    _kimi_attention("ascend_patches.patches.vision_seq_lens.kimi_k25_vit:attention_0_15", *_KIMI_ROPE),
)
_KIMI_0_23 = (
    _KIMI_PREPARED,
    _kimi_attention("ascend_patches.patches.vision_seq_lens.kimi_k25_vit:attention_0_23", *_KIMI_ROPE),
)
_KIMI_0_29 = (
    _KIMI_PREPARED,
    _kimi_attention("ascend_patches.patches.vision_seq_lens.kimi_k25_vit:attention_0_29", *_KIMI_ROPE),
)


_PREPARED = (_QWEN2_0_23, _QWEN2_5_HOOKED, _GLM_0_24)


def _variant(name: str, versions: str, *parts: Part) -> Variant:
    return Variant(name, version_in("vllm", versions), parts=(_QWEN2_ATTENTION, _GLM_ATTENTION, *parts))


PATCH = Patch(
    name="vision-seq-lens",
    summary="sequence lengths known on the host for the encoders of Qwen2-VL, Qwen2.5, Qwen3-Omni, GLM-4.1V, Kimi-K2.5",
    checks="ascend_patches.patches.vision_seq_lens.checks:CHECKS",
    why=(
        "these encoders compute their sequence lengths on the host and give only device tensors to their layers, and "
        "the attention of most releases copies them back in every layer; windows and whole frames alternate in Qwen2.5"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/6448",),
    retire="once the oldest vllm-ascend in use gets host sequence lengths from each of these encoders",
    variants=(
        _variant("vllm-0.13", ">=0.13,<0.15", _OMNI_0_13, _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE),
        _variant("vllm-0.15", ">=0.15,<0.17", _OMNI_0_13, _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE, *_KIMI_0_15, _AUDIO),
        _variant("vllm-0.17", ">=0.17,<0.18", _OMNI_0_17, _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE, *_KIMI_0_15, _AUDIO),
        _variant("vllm-0.18", ">=0.18,<0.21", _OMNI_0_18, _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE, *_KIMI_0_15, _AUDIO),
        _variant(
            "vllm-0.21", ">=0.21,<0.22", _OMNI_0_18, _QWEN2_MADE, _QWEN2_5_PREPARED, _GLM_MADE, *_KIMI_0_15, _AUDIO
        ),
        _variant("vllm-0.22", ">=0.22,<0.23", _OMNI_0_18, _QWEN2_0_22, _QWEN2_5_HOOKED, _GLM_MADE, *_KIMI_0_15, _AUDIO),
        _variant("vllm-0.23", ">=0.23,<0.24", _OMNI_0_18, _QWEN2_0_23, _QWEN2_5_HOOKED, _GLM_MADE, *_KIMI_0_23, _AUDIO),
        _variant("vllm-0.24", ">=0.24,<0.29", _OMNI_0_24, *_PREPARED, *_KIMI_0_23, _AUDIO),
        _variant("vllm-0.29", ">=0.29,<0.31", _OMNI_0_24, *_PREPARED, *_KIMI_0_29, _AUDIO),
        # Kimi-K2.5 rotates by a kernel of its own where there is Triton.
        _variant("vllm-0.31", ">=0.31", _OMNI_0_24, *_PREPARED, _KIMI_PREPARED, _AUDIO),
    ),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "before 0.13 no release has an encoder attention to serve"),),
)
