"""vision-seq-lens: what qwen3-vl-vision does about sequence lengths, for the other encoders."""

from __future__ import annotations

from ascend_patches.gates import version_in
from ascend_patches.registry import Exemption, Patch, Rewrite, Variant

_MODELS = "vllm.model_executor.models"
_QWEN2 = f"{_MODELS}.qwen2_vl:Qwen2VisionTransformer"
_QWEN2_5 = f"{_MODELS}.qwen2_5_vl:Qwen2_5_VisionTransformer"
_GLM = f"{_MODELS}.glm4_1v:Glm4vVisionTransformer"
_OMNI = f"{_MODELS}.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer"
_OMNI_AUDIO = f"{_MODELS}.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder"
_KIMI = f"{_MODELS}.kimi_k25_vit:MoonViT3dEncoder"


def _around(target: str, advice: str) -> Rewrite:
    return Rewrite(target, around=f"ascend_patches.npu.vision_transformers:{advice}")


def _made_in_forward(model: str, of: str) -> tuple[Rewrite, ...]:
    return (_around(f"{model}.forward", f"one_call_of_{of}"),)


def _prepared_apart(model: str, of: str) -> tuple[Rewrite, ...]:
    return (
        _around(f"{model}.forward", "one_call"),
        _around(f"{model}.prepare_encoder_metadata", f"{of}_prepared"),
    )


_AUDIO = (_around(f"{_OMNI_AUDIO}.forward", "one_call"),)
# Its vision tower prepares before it calls the encoder, so the encoder's forward has to say the lengths as well.
_KIMI_PREPARED = (
    _around(f"{_KIMI}.forward", "one_call_of_clips"),
    _around(f"{_KIMI}.prepare_encoder_metadata", "clips_prepared"),
)


def _variant(name: str, versions: str, *rewrites: tuple[Rewrite, ...]) -> Variant:
    every = (*_made_in_forward(_OMNI, "frames"), *(one for some in rewrites for one in some))
    return Variant(f"vllm-{name}", version_in("vllm", versions), every)


PATCH = Patch(
    name="vision-seq-lens",
    summary="sequence lengths known on the host for the encoders of Qwen2-VL, Qwen2.5, Qwen3-Omni, GLM-4.1V, Kimi-K2.5",
    why=(
        "these encoders compute their sequence lengths on the host and give only device tensors to their layers, and "
        "the attention of most releases copies them back in every layer; windows and whole frames alternate in Qwen2.5"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/6448",),
    retire="once the oldest vllm-ascend in use gets host sequence lengths from each of these encoders",
    variants=(
        _variant(
            "0.13",
            ">=0.13,<0.15",
            _made_in_forward(_QWEN2, "frames"),
            _made_in_forward(_QWEN2_5, "windows"),
            _made_in_forward(_GLM, "frames"),
        ),
        _variant(
            "0.15",
            ">=0.15,<0.21",
            _made_in_forward(_QWEN2, "frames"),
            _made_in_forward(_QWEN2_5, "windows"),
            _made_in_forward(_GLM, "frames"),
            _made_in_forward(_KIMI, "clips"),
            _AUDIO,
        ),
        _variant(
            "0.21",
            ">=0.21,<0.22",
            _made_in_forward(_QWEN2, "frames"),
            _prepared_apart(_QWEN2_5, "windows"),
            _made_in_forward(_GLM, "frames"),
            _made_in_forward(_KIMI, "clips"),
            _AUDIO,
        ),
        _variant(
            "0.22",
            ">=0.22,<0.23",
            _prepared_apart(_QWEN2, "frames"),
            _prepared_apart(_QWEN2_5, "windows"),
            _made_in_forward(_GLM, "frames"),
            _made_in_forward(_KIMI, "clips"),
            _AUDIO,
        ),
        _variant(
            "0.23",
            ">=0.23,<0.24",
            _prepared_apart(_QWEN2, "frames"),
            _prepared_apart(_QWEN2_5, "windows"),
            _made_in_forward(_GLM, "frames"),
            _KIMI_PREPARED,
            _AUDIO,
        ),
        _variant(
            "0.24",
            ">=0.24",
            _prepared_apart(_QWEN2, "frames"),
            _prepared_apart(_QWEN2_5, "windows"),
            _prepared_apart(_GLM, "frames"),
            _KIMI_PREPARED,
            _AUDIO,
        ),
    ),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "before 0.13 no release has an encoder attention to serve"),),
)
