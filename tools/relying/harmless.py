"""Upstream code that a replacement enters or bypasses and need not know, with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple


class Harmless(NamedTuple):
    """Functions of a pattern, and why a change of theirs cannot make a replacement wrong."""

    pattern: str
    why: str


_LAYER = "a layer of its own, called with the hidden states alone, as upstream's function calls it"
_DISPATCH = "chooses the method of a custom operator; the choice is made when the object is, patched or not"
_FINGERPRINTED = "bypassed only where its code is one that ascend_patches/npu/known_layers.py has the fingerprint of"
_NAMED = "its forward, which is relied on, names all that is read"
_PLATFORM = "asks which platform this is, which on an NPU is known"

HARMLESS = (
    Harmless("vllm.model_executor.layers.linear:*.forward", _LAYER),
    Harmless("vllm.model_executor.layers.activation:*.forward", _LAYER),
    Harmless("vllm.model_executor.layers.conv:*.forward", _LAYER),
    Harmless("vllm.model_executor.layers.layernorm:*.forward", _LAYER),
    Harmless("vllm.model_executor.layers.fusion.mm_input_norm:*.forward", _LAYER),
    Harmless("vllm.model_executor.models.vision:FusedInputNorm.forward", _LAYER),
    Harmless("vllm_ascend.ops.layernorm:*.forward", _LAYER),
    Harmless("vllm_ascend.ops.linear:*.forward", _LAYER),
    Harmless("vllm.model_executor.layers.activation:*.forward_*", _LAYER),
    Harmless("vllm.model_executor.layers.layernorm:*.forward_*", _LAYER),
    Harmless("vllm_ascend.ops.activation:*.forward_*", _LAYER),
    Harmless("vllm_ascend.ops.layernorm:*.forward_*", _LAYER),
    Harmless("vllm.model_executor.models.glm_ocr:GlmOcrVisionAttention.forward", _LAYER),
    Harmless("vllm.model_executor.models.kimi_k25_vit:MoonViTEncoderLayer.attention_qkvpacked", _LAYER),
    Harmless("vllm_ascend.ops.*:Ascend*.forward", _DISPATCH),
    Harmless("vllm.model_executor.custom_op:maybe_get_oot_by_class", _DISPATCH),
    Harmless("vllm*.mm_encoder_attention:MMEncoderAttention.forward", _DISPATCH),
    Harmless("vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb.forward", _DISPATCH),
    Harmless("vllm*:*UnquantizedLinearMethod.apply", _FINGERPRINTED),
    Harmless("vllm*:*unquantized_gemm*", _FINGERPRINTED),
    Harmless("vllm.model_executor.parameter:*.__torch_function__", _FINGERPRINTED),
    Harmless("vllm.model_executor.layers.batch_invariant:vllm_is_batch_invariant", "asked for the sake of CUDA alone"),
    Harmless("vllm.model_executor.models.*:*MLP*.forward", _FINGERPRINTED),
    Harmless("vllm.platforms.*:*Platform.is_*", _PLATFORM),
    Harmless("vllm_ascend.platform:NPUPlatform.is_*", _PLATFORM),
    Harmless("vllm.model_executor.models.qwen2_vl:Qwen2VisionBlock.__init__", _NAMED),
    Harmless("vllm.model_executor.models.glm4_1v:Glm4vVisionBlock.__init__", _NAMED),
    Harmless("vllm*.envs:__getattr__", "reads an environment variable by name; what is read with it is asked by name"),
    Harmless("vllm_ascend.attention.mla_v1:AscendMLAMetadata.__init__", "made by its dataclass from fields"),
    Harmless(
        "vllm.model_executor.models.qwen3_vl:Qwen3_VisionBlock.__init__",
        "from 0.28 on what compiles a block replaces it; its forward, which is relied on, names all that is read",
    ),
    Harmless(
        "vllm.model_executor.models.whisper:WhisperEncoderAttention.forward_native",
        "what it inherits from MMEncoderAttention, where mm-encoder-attention examines it",
    ),
    Harmless("vllm.platforms:__getattr__", _PLATFORM),
    Harmless("vllm.utils.platform_utils:is_pin_memory_available", _PLATFORM),
    Harmless("vllm.model_executor.models.*:*.__call__", "what compiling a block puts in front of its forward"),
    Harmless("vllm.utils.torch_utils:async_tensor_h2d", "a copy to the device; a replacement makes one for all"),
    Harmless("vllm.config.*:VllmConfig.__post_init__", "the toolkit reads its settings after it, and changes nothing"),
    Harmless("vllm.utils.gpu_sync_debug:*", "a switch for debugging on other devices"),
    Harmless(
        "vllm_ascend.multistream.context:get_multistream_comm_context",
        "the context of another feature, which a replacement's layers are left alone in",
    ),
)


def reason(name: str) -> str | None:
    """Why a function is harmless; None if it is not known to be."""
    return next((each.why for each in HARMLESS if fnmatchcase(name, each.pattern)), None)


def unused(names: Iterable[str]) -> list[str]:
    """The patterns that none of some functions has."""
    seen = list(names)
    return [each.pattern for each in HARMLESS if not any(fnmatchcase(name, each.pattern) for name in seen)]
