"""The patches this package carries, one file each."""

from __future__ import annotations

from ascend_patches.declaring.patch import Patch
from ascend_patches.patches.compile_cache import declaration as compile_cache
from ascend_patches.patches.mla_kv_overlap import declaration as mla_kv_overlap
from ascend_patches.patches.mla_multistream import declaration as mla_multistream
from ascend_patches.patches.mm_encoder_attention import declaration as mm_encoder_attention
from ascend_patches.patches.more_encoders import declaration as more_encoders
from ascend_patches.patches.qwen3_vl_vision import declaration as qwen3_vl_vision
from ascend_patches.patches.rotary_embedding import declaration as rotary_embedding
from ascend_patches.patches.vision_blocks import declaration as vision_blocks
from ascend_patches.patches.vision_seq_lens import declaration as vision_seq_lens

PATCHES: tuple[Patch, ...] = (
    mm_encoder_attention.PATCH,
    rotary_embedding.PATCH,
    qwen3_vl_vision.PATCH,
    vision_seq_lens.PATCH,
    more_encoders.PATCH,
    vision_blocks.PATCH,
    mla_multistream.PATCH,
    mla_kv_overlap.PATCH,
    compile_cache.PATCH,
)
