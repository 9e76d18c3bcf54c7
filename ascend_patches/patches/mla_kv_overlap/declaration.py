"""mla-kv-overlap: in MLA decode, the keys' and values' work on a second stream, on releases without torchair."""

from __future__ import annotations

from ascend_patches.declaring.gates import absent, version_in
from ascend_patches.declaring.patch import Exemption, Option, Patch, Rewrite, Variant
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.patches.mla_kv_overlap.options import OPTIONS

_PREPROCESS = "vllm_ascend.attention.mla_v1:AscendMLAImpl.mla_preprocess_decode"
_QUERY_FIRST = Rewrite(
    _PREPROCESS,
    replace="ascend_patches.patches.mla_kv_overlap.replacements:preprocess_decode",
    original_as="upstream_preprocess",
)
_UNLESS_WRITTEN = Rewrite(
    _PREPROCESS,
    replace="ascend_patches.patches.mla_kv_overlap.replacements:preprocess_decode_or_take_written",
    original_as="upstream_preprocess",
)
_PREFETCH = Rewrite(
    "vllm_ascend.attention.mla_v1:AscendMLAImpl._v_up_proj",
    replace="ascend_patches.patches.mla_kv_overlap.replacements:v_up_proj",
    original_as="upstream_v_up_proj",
)

_CALLED = (
    "vllm_ascend.attention.mla_v1:AscendMLAImpl.exec_kv_decode",
    "vllm_ascend.attention.mla_v1:AscendMLAImpl._q_proj_and_k_up_proj",
    "vllm_ascend.attention.mla_v1:AscendMLAImpl.reorg_decode_q",
    "vllm_ascend.attention.mla_v1:AscendMLAImpl.rope_single",
    "vllm_ascend.attention.mla_v1:AscendMLAImpl.forward",
)
_CURRENT_KV = "vllm_ascend.attention.mla_v1:AscendMLAImpl._decode_requires_current_kv"

PATCH = Patch(
    name="mla-kv-overlap",
    summary="MLA decode writes its cache on a second stream while the query is projected",
    checks="ascend_patches.patches.mla_kv_overlap.checks:CHECKS",
    tolerance=Tolerance(bfloat16=2e-2),
    why=(
        "since torchair was dropped in 0.12, the cache is written after q_b_proj, W_UK and the query's rope, which it "
        "does not depend on. Off by default: whether it pays depends on NPU, batch and model, and wants a measurement "
        "on yours first: tools/bench_mla --here prints both ways side by side, and docs/mla.md says how to read it"
    ),
    upstream=("https://github.com/vllm-project/vllm-ascend/pull/1353",),
    retire="when the oldest release in use overlaps this itself, or a measurement shows that it does not pay",
    default=False,
    options={
        "prefetch": Option(
            False, "fetch o_proj's weight before its use on releases that no longer do (from 0.24), at most 16 MiB"
        )
    },
    configure=OPTIONS.choose,
    variants=(
        Variant("0.13 to 0.23", version_in("vllm-ascend", ">=0.13,<0.24"), (_QUERY_FIRST,), relies_on=_CALLED),
        Variant(
            "0.24 to 0.27", version_in("vllm-ascend", ">=0.24,<0.28"), (_QUERY_FIRST, _PREFETCH), relies_on=_CALLED
        ),
        Variant(
            "0.28 and 0.29",
            version_in("vllm-ascend", ">=0.28,<0.30"),
            (_QUERY_FIRST, _PREFETCH),
            relies_on=(*_CALLED, _CURRENT_KV),
        ),
        Variant(
            "0.30",
            version_in("vllm-ascend", ">=0.30,<0.31"),
            (_UNLESS_WRITTEN, _PREFETCH),
            relies_on=(*_CALLED, _CURRENT_KV),
        ),
    ),
    exemptions=(
        Exemption(absent("vllm-ascend"), "MLA on an NPU is vllm-ascend's, which is not installed"),
        Exemption(
            version_in("vllm-ascend", "<=0.9.1rc1"), "up to 0.9.1rc1 there is mla-multistream, or no second stream yet"
        ),
        Exemption(
            version_in("vllm-ascend", ">0.9.1rc1,<0.12"),
            "native since vllm-ascend 0.9.1rc2 under torchair, switched on by enable_multistream_mla",
            native=True,
        ),
        Exemption(
            version_in("vllm-ascend", ">=0.12,<0.13"),
            "vllm-ascend 0.12 was a candidate only, whose decode is another method",
        ),
    ),
)
