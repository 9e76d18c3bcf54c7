"""vision-seq-lens: what qwen3-vl-vision does about sequence lengths, for the other encoders."""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_MODELS = "vllm.model_executor.models"
_ENCODER = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention"


def _around(target: str, advice: str, *, compared: bool = True) -> Rewrite:
    return Rewrite(target, around=f"ascend_patches.npu.vision_transformers:{advice}", compared=compared)


def _made_in_forward(name: str, model: str, of: str) -> Part:
    return Part(name, (_around(f"{_MODELS}.{model}.forward", f"one_call_of_{of}"),))


def _prepared_apart(name: str, model: str, of: str, forward: str = "one_call") -> Part:
    return Part(
        name,
        (
            _around(f"{_MODELS}.{model}.forward", forward),
            _around(f"{_MODELS}.{model}.prepare_encoder_metadata", f"{of}_prepared", compared=False),
        ),
    )


def _forward(name: str, module: str, model: str, replace: str, *relies_on: str) -> Part:
    """A model whose whole forward is replaced; relied on are functions of its module, or of another that is named."""
    target = f"{_MODELS}.{module}:{model}.forward"
    replacement = f"ascend_patches.patches.vision_seq_lens.{module}:{replace}"
    return Part(
        name,
        (
            Rewrite(
                target,
                replace=replacement,
                original_as="upstream_forward",
            ),
        ),
        tuple(each if ":" in each else f"{_MODELS}.{module}:{each}" for each in relies_on),
    )


def _qwen2_5(replace: str, *relies_on: str) -> Part:
    model = "Qwen2_5_VisionTransformer"
    return _forward(
        "Qwen2.5-VL",
        "qwen2_5_vl",
        model,
        replace,
        f"{model}.__init__",
        f"{model}.rotary_pos_emb_thw",
        f"{model}.get_window_index_thw",
        f"{model}.get_rope_by_thw",
        "Qwen2_5_VisionPatchEmbed.forward",
        "Qwen2_5_VisionBlock.forward",
        "Qwen2_5_VisionPatchMerger.forward",
        *relies_on,
    )


_QWEN2 = "qwen2_vl:Qwen2VisionTransformer"
_GLM = "glm4_1v:Glm4vVisionTransformer"
_OMNI = "qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer"
_KIMI = "kimi_k25_vit:MoonViT3dEncoder"

_QWEN2_MADE = _made_in_forward("Qwen2-VL", _QWEN2, "frames")
_QWEN2_PREPARED = _prepared_apart("Qwen2-VL", _QWEN2, "frames")
_LONGEST = "Qwen2_5_VisionTransformer.compute_attn_mask_seqlen"
_METADATA = "Qwen2_5_VisionTransformer.prepare_encoder_metadata"
_QWEN2_5_MADE = _qwen2_5("forward_0_13", _LONGEST)
_QWEN2_5_PREPARED = _qwen2_5("forward_0_21", _LONGEST, _METADATA)
_QWEN2_5_HOOKED = _qwen2_5(
    "forward_0_22", _METADATA, f"{_ENCODER}.compute_max_seqlen", f"{_ENCODER}.maybe_recompute_cu_seqlens"
)
_GLM_MADE = _forward(
    "GLM-4.1V",
    "glm4_1v",
    "Glm4vVisionTransformer",
    "forward_0_13",
    "Glm4vVisionTransformer.__init__",
    "Glm4vVisionTransformer.rot_pos_emb",
    "Glm4vVisionTransformer.compute_attn_mask_seqlen",
    "Glm4vVisionEmbeddings.forward",
    "Glm4vVisionBlock.forward",
)
_GLM_PREPARED = _prepared_apart("GLM-4.1V", _GLM, "frames")
_OMNI_MADE = _made_in_forward("Qwen3-Omni", _OMNI, "frames")
_KIMI_MADE = _made_in_forward("Kimi-K2.5", _KIMI, "clips")
# Its vision tower prepares before it calls the encoder, so the encoder's forward has to say the lengths as well.
_KIMI_PREPARED = _prepared_apart("Kimi-K2.5", _KIMI, "clips", "one_call_of_clips")
_AUDIO = Part(
    "Qwen3-Omni's audio", (_around(f"{_MODELS}.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder.forward", "one_call"),)
)


def _variant(name: str, versions: str, *parts: Part) -> Variant:
    return Variant(f"vllm-{name}", version_in("vllm", versions), parts=(_OMNI_MADE, *parts))


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
        _variant("0.13", ">=0.13,<0.15", _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE),
        _variant("0.15", ">=0.15,<0.21", _QWEN2_MADE, _QWEN2_5_MADE, _GLM_MADE, _KIMI_MADE, _AUDIO),
        _variant("0.21", ">=0.21,<0.22", _QWEN2_MADE, _QWEN2_5_PREPARED, _GLM_MADE, _KIMI_MADE, _AUDIO),
        _variant("0.22", ">=0.22,<0.23", _QWEN2_PREPARED, _QWEN2_5_HOOKED, _GLM_MADE, _KIMI_MADE, _AUDIO),
        _variant("0.23", ">=0.23,<0.24", _QWEN2_PREPARED, _QWEN2_5_HOOKED, _GLM_MADE, _KIMI_PREPARED, _AUDIO),
        _variant("0.24", ">=0.24", _QWEN2_PREPARED, _QWEN2_5_HOOKED, _GLM_PREPARED, _KIMI_PREPARED, _AUDIO),
    ),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "before 0.13 no release has an encoder attention to serve"),),
)
