"""compile-cache: a graph that vLLM compiled with other patches, or without any, is not used again."""

from __future__ import annotations

from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant


def _variant(name: str, versions: str, factors: str) -> Variant:
    before = Rewrite(
        factors,
        replace="ascend_patches.patches.compile_cache.replacements:hash_factors",
        original_as="upstream_factors",
        compared=False,
    )
    after = Rewrite(
        "vllm.compilation.backends:CompilerManager.compute_hash",
        replace="ascend_patches.patches.compile_cache.replacements:compute_hash",
        original_as="upstream_compute_hash",
        compared=False,
    )
    return Variant(
        name,
        version_in("vllm", versions),
        parts=(Part("graphs kept before tracing", (before,)), Part("graphs kept after tracing", (after,))),
    )


PATCH = Patch(
    name="compile-cache",
    summary="graphs that vLLM keeps on disk are found again only by the same set of patches",
    checks="ascend_patches.patches.compile_cache.checks:CHECKS",
    why=(
        "vLLM finds a compiled graph by its configuration and by upstream's files, which are the same whether or not a "
        "patch is on: a graph from before a change of patches would go on running"
    ),
    retire="never: it belongs to patching at run time, not to a release",
    variants=(
        _variant("vllm-0.13", ">=0.13,<0.15", "vllm.compilation.caching:compilation_config_hash_factors"),
        _variant("vllm-0.15", ">=0.15", "vllm.compilation.caching:aot_compile_hash_factors"),
    ),
    exemptions=(
        Exemption(
            version_in("vllm", "<0.13"),
            "before vLLM 0.13 no patch changes what vLLM compiles; torchair's graphs have a key of mla-multistream's",
        ),
    ),
)
