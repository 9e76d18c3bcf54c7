"""That a pair is importable here: the modules that patches change, imported in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.version import Version

from . import runner
from .pairs import Pair
from .store import Store

# A name, and the first vLLM and the first vLLM no longer to have it; nothing where there is none.
_FROM_VLLM = (
    ("vllm.attention.layers.mm_encoder_attention:MMEncoderAttention", "0.13", "0.14"),
    ("vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention", "0.14", ""),
    ("vllm.model_executor.layers.rotary_embedding:RotaryEmbedding", "", ""),
    ("vllm.model_executor.layers.rotary_embedding.common:ApplyRotaryEmb", "0.13", ""),
    ("vllm.model_executor.models.qwen2_vl:Qwen2VisionTransformer", "", ""),
    ("vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VisionTransformer", "", ""),
    ("vllm.model_executor.models.qwen3_vl:Qwen3_VisionTransformer", "0.11", ""),
    ("vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration", "0.11", ""),
    ("vllm.model_executor.models.glm4_1v:Glm4vVisionTransformer", "0.10", ""),
    ("vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeThinkerForConditionalGeneration", "0.11", ""),
    ("vllm.model_executor.models.kimi_k25:KimiK25ForConditionalGeneration", "0.15", ""),
    ("vllm.model_executor.models.deepseek_v2:DeepseekV2ForCausalLM", "", ""),
)
_FROM_ASCEND = (
    ("vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention", "0.13", ""),
    ("vllm_ascend.ops.rotary_embedding", "", ""),
    ("vllm_ascend.attention.mla_v1:AscendMLAImpl", "", ""),
)
_SCRIPT = Path(__file__).with_name("import_names.py")


def names(pair: Pair) -> list[str]:
    """What has to be importable in a pair: ``module`` or ``module:attribute``."""
    entries = _FROM_VLLM + (_FROM_ASCEND if pair.ascend else ())
    version = Version(pair.vllm)
    return [
        name
        for name, first, end in entries
        if (not first or version >= Version(first)) and (not end or version < Version(end))
    ]


def failure(pair: Pair, store: Store) -> str:
    """Why a pair cannot be imported here, or nothing."""
    expected = [f"vllm={pair.vllm}", f"transformers={pair.transformers}"]
    finished = subprocess.run(
        [store.interpreter.executable, str(_SCRIPT), *expected, *names(pair)],
        env=runner.environment(pair, store, os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if finished.returncode == 0:
        return ""
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    return "\n".join(lines[-8:]) or f"exit code {finished.returncode}, without a word"


def prove(pairs: Sequence[Pair], store: Store, jobs: int) -> Iterator[tuple[Pair, str]]:
    """Each pair with why it cannot be imported, in the order of the pairs."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(pairs, pool.map(lambda pair: failure(pair, store), pairs), strict=True)
