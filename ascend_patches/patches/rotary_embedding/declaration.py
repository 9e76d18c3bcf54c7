"""rotary-embedding: query and key of an encoder turned in one npu_rotary_mul, with tables that layers share."""

from __future__ import annotations

from ascend_patches.declaring.gates import absent, version_in
from ascend_patches.declaring.patch import Exemption, Patch, Rewrite, Variant
from ascend_patches.declaring.tolerance import Tolerance

_VLLM = "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb.forward_oot"
_ASCEND = "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb.forward_oot"
_ASCEND_MADE = "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb.__init__"

_MADE_AND_COMPUTED = (
    "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb.__init__",
    "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb.forward_static",
)
_PROCESSED = (
    *_MADE_AND_COMPUTED,
    "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb._pre_process",
    "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb._post_process",
)
_COMPUTED_ALONE = "vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb.forward_native"
_PROCESSED_BY_ASCEND = (
    _ASCEND_MADE,
    *_PROCESSED,
    "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb._pre_process",
    "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb._post_process",
)
_ALONE = absent("vllm-ascend")


def _turned_by(target: str, replace: str) -> tuple[Rewrite, ...]:
    return (Rewrite(target, replace=replace, rank_local=True),)


PATCH = Patch(
    name="rotary-embedding",
    summary="query and key turned in one npu_rotary_mul, with cos and sin prepared once per encoder call",
    checks="ascend_patches.patches.rotary_embedding.checks:CHECKS",
    tolerance=Tolerance(float32=1e-6, bfloat16=1e-2),
    why=(
        "vLLM alone turns them with a dozen small operations in every layer, and vllm-ascend doubles and reshapes cos "
        "and sin in every layer. Before 0.30 it takes interleaved pairs for halves; before 0.24 it fails where cos and "
        "sin do not cover the head, and 0.13 where query and key come one after the other"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/5799",),
    retire="once the oldest vllm-ascend in use is right for interleaved and partial heads and keeps its cos and sin",
    variants=(
        Variant(
            "vllm-0.13",
            gate=version_in("vllm", ">=0.13,<0.14") & _ALONE,
            rewrites=_turned_by(_VLLM, "ascend_patches.patches.rotary_embedding.replacements:forward_oot_of_vllm_0_13"),
            relies_on=(*_MADE_AND_COMPUTED, _COMPUTED_ALONE),
        ),
        Variant(
            "vllm-0.14",
            gate=version_in("vllm", ">=0.14") & _ALONE,
            rewrites=_turned_by(_VLLM, "ascend_patches.patches.rotary_embedding.replacements:forward_oot_of_vllm"),
            relies_on=(*_PROCESSED, _COMPUTED_ALONE),
        ),
        Variant(
            "vllm-ascend-0.13",
            gate=version_in("vllm-ascend", ">=0.13,<0.14"),
            rewrites=_turned_by(_ASCEND, "ascend_patches.patches.rotary_embedding.replacements:forward_oot_0_13"),
            relies_on=(_ASCEND_MADE, *_MADE_AND_COMPUTED),
        ),
        Variant(
            "vllm-ascend-0.14",
            gate=version_in("vllm-ascend", ">=0.14,<0.30"),
            rewrites=_turned_by(_ASCEND, "ascend_patches.patches.rotary_embedding.replacements:forward_oot"),
            relies_on=_PROCESSED_BY_ASCEND,
        ),
        Variant(
            "vllm-ascend-0.30",
            gate=version_in("vllm-ascend", ">=0.30"),
            rewrites=_turned_by(_ASCEND, "ascend_patches.patches.rotary_embedding.replacements:forward_oot_0_30"),
            relies_on=(
                *_PROCESSED_BY_ASCEND,
                "vllm_ascend.device.hardware_profile:get_current_hardware_profile",
                "vllm_ascend.device.hardware_profile:HardwareProfile.supports",
            ),
        ),
    ),
    exemptions=(
        Exemption(version_in("vllm-ascend", "<0.13"), "before 0.13 no release has ApplyRotaryEmb to improve"),
        Exemption(version_in("vllm", "<0.13") & _ALONE, "before 0.13 no release has ApplyRotaryEmb to improve"),
    ),
)
