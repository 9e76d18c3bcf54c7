"""vision-blocks: the blocks of vision encoders call what their submodules compute, and nothing around it."""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant

_CALLED = ("vllm.model_executor.custom_op:CustomOp.forward",)


def _block(name: str, target: str, replace: str, original: str) -> Part:
    return Part(name, (Rewrite(target, replace=replace, original_as=original),), _CALLED)


def _qwen3_vl(replace: str) -> Part:
    target = "vllm.model_executor.models.qwen3_vl:Qwen3_VisionBlock.forward"
    return _block("Qwen3-VL", target, replace, "upstream_qwen3_vl")


def _qwen3_omni(replace: str) -> Part:
    target = "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3_VisionBlock.forward"
    return _block("Qwen3-Omni", target, replace, "upstream_qwen3_omni")


def _qwen2_5_vl(replace: str) -> Part:
    target = "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionBlock.forward"
    return _block("Qwen2.5-VL", target, replace, "upstream_qwen2_5_vl")


def _kimi_k2_5(replace: str) -> Part:
    target = "vllm.model_executor.models.kimi_k25_vit:MoonViTEncoderLayer.forward"
    return _block("Kimi-K2.5", target, replace, "upstream_kimi_k2_5")


_QWEN3_VL_0_13 = _qwen3_vl("ascend_patches.patches.vision_blocks.replacements:qwen3_vl_0_13")
_QWEN3_VL_0_17 = _qwen3_vl("ascend_patches.patches.vision_blocks.replacements:qwen3_vl_0_17")
_QWEN3_OMNI_0_13 = _qwen3_omni("ascend_patches.patches.vision_blocks.replacements:qwen3_omni_0_13")
_QWEN3_OMNI_0_17 = _qwen3_omni("ascend_patches.patches.vision_blocks.replacements:qwen3_omni_0_17")
_QWEN2_5_VL_0_13 = _qwen2_5_vl("ascend_patches.patches.vision_blocks.replacements:qwen2_5_vl_0_13")
_QWEN2_5_VL_0_17 = _qwen2_5_vl("ascend_patches.patches.vision_blocks.replacements:qwen2_5_vl_0_17")
_QWEN2_5_VL_0_22 = _qwen2_5_vl("ascend_patches.patches.vision_blocks.replacements:qwen2_5_vl_0_22")
_QWEN2_VL = _block(
    "Qwen2-VL",
    "vllm.model_executor.models.qwen2_vl:Qwen2VisionBlock.forward",
    "ascend_patches.patches.vision_blocks.replacements:qwen2_vl",
    "upstream_qwen2_vl",
)
_GLM4_1V = _block(
    "GLM-4.1V",
    "vllm.model_executor.models.glm4_1v:Glm4vVisionBlock.forward",
    "ascend_patches.patches.vision_blocks.replacements:glm4_1v",
    "upstream_glm4_1v",
)
_KIMI_K2_5_0_15 = _kimi_k2_5("ascend_patches.patches.vision_blocks.replacements:kimi_k2_5_0_15")
_KIMI_K2_5_0_23 = _kimi_k2_5("ascend_patches.patches.vision_blocks.replacements:kimi_k2_5_0_23")
_KIMI_K2_5_0_29 = _kimi_k2_5("ascend_patches.patches.vision_blocks.replacements:kimi_k2_5_0_29")
_BOTH_0_13 = (_QWEN3_VL_0_13, _QWEN3_OMNI_0_13)
_BOTH_0_17 = (_QWEN3_VL_0_17, _QWEN3_OMNI_0_17)


def _variant(name: str, versions: str, *parts: Part) -> Variant:
    return Variant(name, version_in("vllm", versions), parts=(*parts, _QWEN2_VL, _GLM4_1V))


PATCH = Patch(
    name="vision-blocks",
    summary="blocks of vision encoders call what their submodules compute, without what is around it",
    checks="ascend_patches.patches.vision_blocks.checks:CHECKS",
    why=(
        "a vision encoder waits for its host, and of what the host does in a block most is not the kernels: each of "
        "nine submodules is called through torch's hooks, and each linear layer through classes for ranks, "
        "quantisation and an operator of Python's that come to one matrix multiplication"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/6448",),
    retire="once whole encoders are captured in graphs, which leaves the host nothing to do in a block",
    exemptions=(Exemption(version_in("vllm", "<0.13"), "before 0.13 no release has an encoder attention to serve"),),
    variants=(
        _variant("vllm-0.13", ">=0.13,<0.15", *_BOTH_0_13, _QWEN2_5_VL_0_13),
        _variant("vllm-0.15", ">=0.15,<0.17", *_BOTH_0_13, _QWEN2_5_VL_0_13, _KIMI_K2_5_0_15),
        _variant("vllm-0.17", ">=0.17,<0.22", *_BOTH_0_17, _QWEN2_5_VL_0_17, _KIMI_K2_5_0_15),
        _variant("vllm-0.22", ">=0.22,<0.23", *_BOTH_0_17, _QWEN2_5_VL_0_22, _KIMI_K2_5_0_15),
        _variant("vllm-0.23", ">=0.23,<0.29", *_BOTH_0_17, _QWEN2_5_VL_0_22, _KIMI_K2_5_0_23),
        _variant("vllm-0.29", ">=0.29", *_BOTH_0_17, _QWEN2_5_VL_0_22, _KIMI_K2_5_0_29),
    ),
)
