"""more-encoders: what vision-seq-lens does, for the encoders of other models, each of which is a row.

A row names a model's functions, the advice around each, and the releases of vLLM that have them so. The advice says
what a sequence is; it finds the grids among the arguments by their name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ascend_patches.declaring.gates import Gate, absent, always, installed, version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_CALL = "ascend_patches.npu.vision_transformers:one_call"
_FRAMES = "ascend_patches.npu.vision_transformers:one_call_of_frames"
_CLIPS = "ascend_patches.npu.vision_transformers:one_call_of_clips"
_FRAMES_ON_HOST = "ascend_patches.npu.vision_transformers:one_call_of_frames_on_host"
_FRAMES_IF_ON_DEVICE = "ascend_patches.npu.vision_transformers:one_call_of_frames_if_on_device"
_SHAPES_ON_HOST = "ascend_patches.npu.vision_transformers:one_call_of_shapes_on_host"
_BOUNDARIES_ON_HOST = "ascend_patches.npu.vision_transformers:boundaries_of_clips_on_host"
_FRAMES_PREPARED = "ascend_patches.npu.vision_transformers:frames_prepared"
_LARGEST_SIDE = "ascend_patches.npu.vision_transformers:largest_side_known"
_WINDOWS = "ascend_patches.npu.vision_transformers:windows_known"
_ORDER = "ascend_patches.npu.vision_transformers:order_made_on_host"
_READ_AT_ONCE = "ascend_patches.npu.vision_transformers:lengths_read_at_once"
_BOUNDARIES_BY_HOST = "ascend_patches.npu.vision_transformers:boundaries_on_host"
_OF_LENGTHS = "ascend_patches.npu.vision_transformers:boundaries_of_lengths_known"
_MASKED = "ascend_patches.npu.vision_transformers:masked_sequences_known"
_RECOMPUTED = "ascend_patches.npu.vision_transformers:recomputed_boundaries_known"

# The releases at which rows begin and end.
_SINCE = ("0.13", "0.14", "0.16", "0.18", "0.19", "0.21", "0.25", "0.28", "0.29", "0.30", "0.31", "0.33")

_ALONE = absent("vllm-ascend")
_WITH_VLLM_ASCEND = installed("vllm-ascend")


class Row:
    """One model's encoder on a range of vLLM's releases.

    ``releases`` says from which release on, or from one to another: "0.13", or "0.13 to 0.28" without the latter;
    ``where`` whether it serves with vllm-ascend or with vLLM alone.
    """

    def __init__(
        self,
        title: str,
        releases: str,
        around: tuple[Rewrite, ...],
        relies_on: tuple[str, ...] = (),
        where: Gate = always,
    ) -> None:
        since, _, until = releases.partition(" to ")
        self.served = _SINCE[_SINCE.index(since) : _SINCE.index(until) if until else None]
        self.where = where
        self.part = Part(title, around, relies_on)


def _advice(target: str, advice: str) -> Rewrite:
    return Rewrite(target, around=advice)


def _prepared(target: str, advice: str) -> Rewrite:
    # What it returns is meant to be the same; only what is known of it is more.
    return Rewrite(target, around=advice, compared=False)


_PADDLE = _advice("vllm.model_executor.models.paddleocr_vl:SiglipEncoder.forward", _CLIPS)
_PADDLE_BOUNDARIES = "vllm.model_executor.models.paddleocr_vl:PaddleOCRVLForConditionalGeneration.encode_image"
_KEYE = _advice("vllm.model_executor.models.keye:KeyeSiglipVisionTransformer.forward", _BOUNDARIES_ON_HOST)
_KEYE_READS = (
    "vllm.model_executor.models.keye:BaseKeyeModule._process_image_input",
    "vllm.model_executor.models.keye:BaseKeyeModule._process_video_embeds",
    "vllm.model_executor.models.keye:KeyeSiglipEncoder.forward",
    "vllm.model_executor.models.keye:KeyeSiglipAttention.forward",
)
_ERNIE = "vllm.model_executor.models.ernie45_vl:Ernie4_5_VisionTransformer.forward"
_RADIO = _advice("vllm.model_executor.models.radio:RadioInternVisionModel.forward", _CALL)
_MOVED = _prepared(
    "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.maybe_recompute_cu_seqlens",
    _RECOMPUTED,
)
_MUSE_GLIMMER = (
    _advice("vllm.model_executor.models.muse_glimmer:MuseGlimmerVisionEncoder.forward", _CALL),
    _prepared("vllm.model_executor.models.muse_glimmer:MuseGlimmerVisionEncoder._get_sparse_permutation", _ORDER),
)
_PIXTRAL = (
    _advice("vllm.model_executor.models.pixtral:VisionTransformer.forward", _CALL),
    _advice("vllm.model_executor.models.pixtral:PixtralHFVisionModel.forward", _CALL),
)
_LLAVA_ONEVISION_2 = (_advice("vllm.model_executor.models.llava_onevision2:LlavaOnevision2VisionTower.forward", _CALL),)
_ULTRAVOX = (
    _advice("vllm.model_executor.models.ultravox:UltravoxWhisperEncoder.forward", _CALL),
    _advice("vllm.model_executor.models.ultravox:UltravoxTransformerProjector.forward", _CALL),
    _advice("vllm.model_executor.models.ultravox:UltravoxModel._audio_features_to_embeddings", _READ_AT_ONCE),
)
_ULTRAVOX_READS = ("vllm.model_executor.models.ultravox:_build_chunk_attn_metadata",)

ROWS = (
    Row(
        "PaddleOCR-VL",
        "0.13 to 0.28",
        (
            _PADDLE,
            # Before 0.28 the largest side is looked up among the positions on the device.
            _prepared("vllm.model_executor.models.paddleocr_vl:SigLIPRotaryEmbedding.forward", _LARGEST_SIDE),
        ),
        (_PADDLE_BOUNDARIES,),
    ),
    Row("PaddleOCR-VL", "0.28", (_PADDLE,), (_PADDLE_BOUNDARIES,)),
    Row("GLM-OCR", "0.16", (_advice("vllm.model_executor.models.glm_ocr:GlmOcrVisionTransformer.forward", _FRAMES),)),
    Row(
        "GLM-5.3-Flash",
        "0.30 to 0.31",
        (
            _advice("vllm.models.glm5next.nvidia.multimodal:Glm5NextVisionTransformer.forward", _FRAMES),
            _prepared(
                "vllm.models.glm5next.nvidia.multimodal:Glm5NextVisionTransformer.prepare_encoder_metadata",
                _FRAMES_PREPARED,
            ),
        ),
    ),
    Row(
        "GLM-5.3-Flash",
        "0.31",
        (
            _advice("vllm.models.glm5next.common.multimodal:Glm5NextVisionTransformer.forward", _FRAMES),
            _prepared(
                "vllm.models.glm5next.common.multimodal:Glm5NextVisionTransformer.prepare_encoder_metadata",
                _FRAMES_PREPARED,
            ),
        ),
    ),
    Row(
        "GLM-5.3-Flash of vllm-ascend",
        "0.28",
        (
            _advice("vllm_ascend.models.glm5next.multimodal:Glm5NextVisionTransformer.forward", _FRAMES),
            _prepared(
                "vllm_ascend.models.glm5next.multimodal:Glm5NextVisionTransformer.prepare_encoder_metadata",
                _FRAMES_PREPARED,
            ),
        ),
        where=_WITH_VLLM_ASCEND,
    ),
    Row("dots.ocr", "0.13", (_advice("vllm.model_executor.models.dots_ocr:DotsVisionTransformer.forward", _FRAMES),)),
    Row("Kimi-VL", "0.14", (_advice("vllm.model_executor.models.moonvit:MoonVitEncoder.forward", _CLIPS),)),
    # Before 0.28 the boundaries stay where the grids are.
    Row("Ernie4.5-VL", "0.13 to 0.28", (_advice(_ERNIE, _FRAMES_IF_ON_DEVICE),)),
    Row(
        "Ernie4.5-VL",
        "0.28",
        (_advice(_ERNIE, _FRAMES_ON_HOST),),
        ("vllm.model_executor.models.ernie45_vl:Ernie4_5_VisionTransformer.prepare_encoder_metadata",),
    ),
    Row(
        "Ovis2.5",
        "0.13",
        (
            _advice("vllm.model_executor.models.siglip2navit:Siglip2NavitModel.forward", _FRAMES_ON_HOST),
            _prepared("vllm.model_executor.models.siglip2navit:Siglip2Encoder.get_window_index", _WINDOWS),
        ),
        (
            "vllm.model_executor.models.siglip2navit:Siglip2VisionTransformer.forward",
            "vllm.model_executor.models.siglip2navit:Siglip2VisionEmbeddings.forward",
            "vllm.model_executor.models.siglip2navit:Siglip2Encoder.forward",
        ),
    ),
    Row(
        "MiMo-V2-Omni",
        "0.21",
        (_advice("vllm.model_executor.models.mimo_v2_omni:MiMoVisionTransformer.forward", _FRAMES_ON_HOST),),
    ),
    Row(
        "Keye",
        "0.13 to 0.28",
        (
            _KEYE,
            _prepared("vllm.model_executor.models.keye:SigLIPRotaryEmbedding.forward", _LARGEST_SIDE),
        ),
        _KEYE_READS,
    ),
    Row("Keye", "0.28", (_KEYE,), _KEYE_READS),
    Row(
        "Isaac",
        "0.14",
        (_advice("vllm.model_executor.models.isaac:Siglip2VisionTransformer.forward", _SHAPES_ON_HOST),),
        ("vllm.model_executor.models.isaac:create_cumulative_seq_lengths",),
    ),
    Row(
        "LFM2-VL, Phi-4 with SigLIP, Cosmos3 Edge",
        "0.16",
        (_advice("vllm.model_executor.models.lfm2_siglip2:Siglip2VisionTransformer.forward", _CLIPS),),
    ),
    Row("RADIO", "0.18 to 0.19", (_RADIO,)),
    Row(
        "RADIO",
        "0.19",
        (
            _RADIO,
            _prepared(
                "vllm.model_executor.models.radio:RadioInternVisionModel._inter_image_mask_metadata_from_seq_lens",
                _MASKED,
            ),
        ),
    ),
    Row(
        "Fun-Audio-Chat",
        "0.16",
        (
            Rewrite(
                "vllm.model_executor.models.funaudiochat:FunAudioChatAudioEncoder.forward",
                replace="ascend_patches.patches.more_encoders.fun_audio_chat:forward",
                original_as="upstream_forward",
            ),
        ),
        (
            "vllm.model_executor.models.funaudiochat:FunAudioChatAudioEncoder.__init__",
            "vllm.model_executor.models.funaudiochat:FunAudioChatAudioEncoder.dtype",
            "vllm.model_executor.models.funaudiochat:FunAudioChatAudioEncoder.padded_and_mask_function",
            "vllm.model_executor.models.funaudiochat:FunAudioChatAudioEncoderLayer.forward",
        ),
    ),
    Row("Kanana-V", "0.14", (_advice("vllm.model_executor.models.kanana_v:CustomQwen2VLVE.forward", _FRAMES),)),
    Row(
        "DeepSeek-V4",
        "0.31",
        (_advice("vllm.models.deepseek_v4.common.vision:DeepseekV4ViT.forward_packed", _CALL),),
    ),
    Row(
        "Muse Spark",
        "0.33",
        (
            _advice("vllm.models.muse_spark.common.vision:NaViT.forward", _CALL),
            _prepared("vllm.models.muse_spark.common.vision:_get_sparse_attention_perm", _ORDER),
            _prepared("vllm.models.muse_spark.common.vision:_seqlens_to_cu_seqlens", _OF_LENGTHS),
        ),
        ("vllm.models.muse_spark.common.vision:NaViTEncoder.forward",),
    ),
    # These bring lengths of their own, which vllm-ascend leaves on the host and vLLM moves to the device. Their layers
    # share the rest in a call.
    Row("Pixtral", "0.29", (*_PIXTRAL, _MOVED), where=_ALONE),
    Row("Pixtral", "0.29", _PIXTRAL, where=_WITH_VLLM_ASCEND),
    Row("LLaVA-OneVision-2", "0.25", (*_LLAVA_ONEVISION_2, _MOVED), where=_ALONE),
    Row("LLaVA-OneVision-2", "0.25", _LLAVA_ONEVISION_2, where=_WITH_VLLM_ASCEND),
    Row("MuseGlimmer", "0.28", (*_MUSE_GLIMMER, _MOVED), where=_ALONE),
    Row("MuseGlimmer", "0.28", _MUSE_GLIMMER, where=_WITH_VLLM_ASCEND),
    Row("Ultravox", "0.28", (*_ULTRAVOX, _MOVED), _ULTRAVOX_READS, where=_ALONE),
    # vllm-ascend has no attention in place of Whisper's.
    Row(
        "Ultravox",
        "0.28",
        (
            *_ULTRAVOX,
            _advice(
                "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention._forward_sdpa",
                _BOUNDARIES_BY_HOST,
            ),
            _MOVED,
        ),
        (
            *_ULTRAVOX_READS,
            "vllm.model_executor.models.whisper:WhisperEncoderAttention._forward_sdpa",
            "vllm.v1.attention.ops.vit_attn_wrappers:vit_torch_sdpa_wrapper",
            "vllm.v1.attention.ops.vit_attn_wrappers:torch_sdpa_wrapper",
        ),
        where=_WITH_VLLM_ASCEND,
    ),
)


def _variants() -> Iterator[Variant]:
    for since, until in pairwise((*_SINCE, "")):
        versions = f">={since},<{until}" if until else f">={since}"
        serving = [row for row in ROWS if since in row.served]
        alone, beside = (
            tuple(row.part for row in serving if row.where in (always, package))
            for package in (_ALONE, _WITH_VLLM_ASCEND)
        )
        if alone == beside:
            yield Variant(f"vllm-{since}", version_in("vllm", versions), parts=alone)
        else:
            yield Variant(f"vllm-{since}-alone", version_in("vllm", versions) & _ALONE, parts=alone)
            yield Variant(f"vllm-{since}-ascend", version_in("vllm", versions) & _WITH_VLLM_ASCEND, parts=beside)


PATCH = Patch(
    name="more-encoders",
    summary="sequence lengths known on the host for PaddleOCR-VL, GLM-OCR, dots.ocr, Kimi-VL and 19 other encoders",
    checks="ascend_patches.patches.more_encoders.checks:CHECKS",
    why=(
        "the attention of most releases copies sequence lengths from the device in every layer, although these "
        "encoders know them on the host or need to read them once; some read their own grids value by value besides"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/6448",),
    retire="once the oldest vllm-ascend in use gets host sequence lengths from each of these encoders",
    variants=tuple(_variants()),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "before 0.13 no release has an encoder attention to serve"),),
)
