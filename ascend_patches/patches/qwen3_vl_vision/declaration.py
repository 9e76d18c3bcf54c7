"""qwen3-vl-vision: the vision encoder of Qwen3-VL, with nothing in a layer that a forward can do once.

Its attention is that of Qwen2.5-VL and Qwen3-Omni too, and serves them where Qwen3-VL itself is never imported.
"""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_VLLM = "vllm.model_executor.models"
_MODEL = f"{_VLLM}.qwen3_vl:Qwen3_VisionTransformer"
_ATTENTION = f"{_VLLM}.qwen2_5_vl:Qwen2_5_VisionAttention"
_ENCODER = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention"


def _rewrite(target: str, replace: str) -> Rewrite:
    return Rewrite(f"{target}.forward", replace=replace, original_as="upstream_forward")


def _variant(name: str, versions: str, forward: str, attend: str, *, relies_on: tuple[str, ...]) -> Variant:
    attention = _rewrite(_ATTENTION, f"ascend_patches.npu.vision_attention:{attend}")
    return Variant(
        name,
        gate=version_in("vllm", versions),
        parts=(
            Part("attention of Qwen2.5 and Qwen3", (attention,), (f"{_ATTENTION}.__init__",)),
            Part(
                "Qwen3-VL",
                (_rewrite(_MODEL, f"ascend_patches.patches.qwen3_vl_vision.replacements:{forward}"), attention),
                (
                    f"{_MODEL}.__init__",
                    f"{_MODEL}.rot_pos_emb",
                    f"{_VLLM}.qwen3_vl:Qwen3_VisionBlock.forward",
                    f"{_VLLM}.qwen3_vl:Qwen3_VisionPatchMerger.forward",
                    f"{_ATTENTION}.__init__",
                    *relies_on,
                ),
            ),
        ),
    )


_POSITIONS = f"{_MODEL}.fast_pos_embed_interpolate"
_LONGEST = (f"{_MODEL}.compute_attn_mask_seqlen", _POSITIONS)
_RECOMPUTED = f"{_ENCODER}.maybe_recompute_cu_seqlens"
_HOOKS_0_17 = (f"{_ENCODER}.maybe_compute_sequence_lengths", _RECOMPUTED, _POSITIONS)
_HOOKS = (_RECOMPUTED, _POSITIONS)
_PREPARED = (f"{_MODEL}.prepare_encoder_metadata", *_HOOKS)
# From here on vllm-ascend puts its own method in place of that one, which calls the same function.
_INTERPOLATED = (f"{_MODEL}.prepare_encoder_metadata", _RECOMPUTED, f"{_VLLM}.qwen3_vl:pos_embed_interpolate_native")

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
        _variant("vllm-0.13", ">=0.13,<0.17", "forward_0_13", "forward_0_13", relies_on=_LONGEST),
        _variant("vllm-0.17", ">=0.17,<0.18", "forward_0_17", "forward_0_17", relies_on=_HOOKS_0_17),
        _variant("vllm-0.18", ">=0.18,<0.19", "forward_0_18", "forward_0_17", relies_on=_HOOKS),
        _variant("vllm-0.19", ">=0.19,<0.20", "forward_0_19", "forward_0_17", relies_on=_PREPARED),
        _variant("vllm-0.20", ">=0.20,<0.21", "forward_0_19", "forward_0_17", relies_on=_INTERPOLATED),
        _variant("vllm-0.21", ">=0.21,<0.32", "forward_0_21", "forward_0_17", relies_on=_INTERPOLATED),
        _variant("vllm-0.32", ">=0.32", "forward_0_32", "forward_0_17", relies_on=_INTERPOLATED),
    ),
    exemptions=(Exemption(version_in("vllm", "<0.13"), "vLLM has no Qwen3-VL whose attention this could serve"),),
)
