"""The patches this package carries, one file each."""

from __future__ import annotations

from ascend_patches.patches import (
    compile_cache,
    mla_kv_overlap,
    mla_multistream,
    mm_encoder_attention,
    qwen3_vl_vision,
    rotary_embedding,
    vision_seq_lens,
)
from ascend_patches.registry import Patch

PATCHES: tuple[Patch, ...] = (
    mm_encoder_attention.PATCH,
    rotary_embedding.PATCH,
    qwen3_vl_vision.PATCH,
    vision_seq_lens.PATCH,
    mla_multistream.PATCH,
    mla_kv_overlap.PATCH,
    compile_cache.PATCH,
)
