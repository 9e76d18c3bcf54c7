"""The encoders that can be built, by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks.encoder import (
    GRIDS,
    PATCH,
    Encoder,
    Grids,
    configured,
    given,
    of_class,
    one_frame,
    two_frames,
)
from ascend_patches.checks.more_encoders import MORE_ENCODERS

__all__ = ["ENCODERS", "EVERY_ENCODER", "GRIDS", "Encoder", "Grids"]


def _deepstack(layers: int) -> list[int]:
    return [index for index in (0, 2, 4) if index < layers]


def _small_qwen3_vl(module: Any, layers: int) -> Any:
    return configured("qwen3_vl", "Qwen3VLVisionConfig")(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        deepstack_visual_indexes=_deepstack(layers),
        num_position_embeddings=36,
    )


def _small_qwen2_vl(module: Any, layers: int) -> Any:
    return configured("qwen2_vl", "Qwen2VLVisionConfig")(
        depth=layers, embed_dim=160, hidden_size=48, num_heads=2, mlp_ratio=1, patch_size=PATCH, in_channels=3
    )


def _small_qwen2_5_vl(module: Any, layers: int) -> Any:
    return configured("qwen2_5_vl", "Qwen2_5_VLVisionConfig")(
        depth=layers,
        hidden_size=160,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        window_size=16,
        fullatt_block_indexes=[index for index in range(layers) if index % 4 == 3],
    )


def _small_glm4_1v(module: Any, layers: int) -> Any:
    return configured("glm4v", "Glm4vVisionConfig")(
        depth=layers,
        hidden_size=256,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        image_size=24,
        rms_norm_eps=1e-6,
    )


def _small_qwen3_omni(module: Any, layers: int) -> Any:
    config = configured("qwen3_omni_moe", "Qwen3OmniMoeVisionEncoderConfig")(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        num_position_embeddings=36,
        deepstack_visual_indexes=_deepstack(layers),
    )
    # Published configurations have these two beside what their class declares.
    config.image_size, config.apply_vit_abs_pos_embed = 24, True
    return config


def _small_kimi_k2_5(module: Any, layers: int) -> Any:
    made = getattr(module, "KimiK25VisionConfig", None) or module.Kimi_K25VisionConfig
    return made(
        patch_size=PATCH,
        init_pos_emb_height=6,
        init_pos_emb_width=6,
        init_pos_emb_time=4,
        num_attention_heads=2,
        num_hidden_layers=layers,
        hidden_size=144,
        intermediate_size=96,
    )


def _glm4_1v(module: Any, config: Any, prefix: str) -> Any:
    from vllm.config import MultiModalConfig

    return given(
        module.Glm4vVisionTransformer,
        vision_config=config,
        norm_eps=1e-6,
        multimodal_config=MultiModalConfig(),
        text_config=SimpleNamespace(intermediate_size=config.intermediate_size),
        prefix=prefix,
    )


def _kimi_k2_5(module: Any, config: Any, prefix: str) -> Any:
    model = given(module.MoonViT3dPretrainedModel, config=config, prefix=prefix)
    for positions in model.modules():
        # A table of float32, which checkpoints load in their own type.
        if hasattr(positions, "time_weight"):
            positions.time_weight = positions.time_weight.to(torch.get_default_dtype())
        # A table for 512 by 512 patches, of which these inputs need a corner.
        if hasattr(positions, "max_height"):
            positions.max_height = positions.max_width = 16
    return model


ENCODERS = {
    "Qwen3-VL": Encoder("qwen3_vl", _small_qwen3_vl, of_class("Qwen3_VisionTransformer"), two_frames),
    "Qwen2-VL": Encoder("qwen2_vl", _small_qwen2_vl, of_class("Qwen2VisionTransformer"), two_frames),
    "Qwen2.5-VL": Encoder("qwen2_5_vl", _small_qwen2_5_vl, of_class("Qwen2_5_VisionTransformer"), two_frames),
    "Qwen3-Omni": Encoder(
        "qwen3_omni_moe_thinker",
        _small_qwen3_omni,
        of_class("Qwen3Omni_VisionTransformer"),
        two_frames,
        grids_in_a_tensor=True,
    ),
    "GLM-4.1V": Encoder("glm4_1v", _small_glm4_1v, _glm4_1v, two_frames),
    "Kimi-K2.5": Encoder("kimi_k25_vit", _small_kimi_k2_5, _kimi_k2_5, one_frame, grids_in_a_tensor=True),
}
"""Those of the patches that do more than hand over lengths: the ones that are benchmarked, compiled and split."""

EVERY_ENCODER = ENCODERS | MORE_ENCODERS
