"""The encoders that can be built, by name, and what they are given."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from . import world

Grids = list[list[int]]
GRIDS: Grids = [[1, 4, 6], [2, 8, 4], [1, 2, 2]]
"""Frames, rows and columns of two images and a video between them; no two have the same number of patches."""

_MODELS = "vllm.model_executor.models"


@dataclass(frozen=True)
class Encoder:
    """One model's encoder, and how to build it."""

    module: str
    build: Callable[[Any, int, str], Any]
    patch: tuple[int, ...]
    """The shape of a patch's pixels."""
    grids_in_a_tensor: bool = False

    def there(self) -> bool:
        return world.distributions.has_module(f"{_MODELS}.{self.module}")

    def made(self, layers: int, dtype: torch.dtype, *, prefix: str = "visual", as_on_an_npu: bool = True) -> Any:
        """A small one with weights that are the same whenever it is made."""
        world.enter()
        module = importlib.import_module(f"{_MODELS}.{self.module}")
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with world.configured():
                model = self.build(module, layers, prefix).eval()
        finally:
            torch.set_default_dtype(before)
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).to(dtype)
        world.finish(model, as_on_an_npu=as_on_an_npu)
        return model.to("npu")

    def run(self, model: Any, grids: Grids, dtype: torch.dtype) -> torch.Tensor:
        """One forward, as the release's models call it; of several outputs all, one after the other."""
        output = model(self.pixels(grids, dtype), torch.tensor(grids) if self.grids_in_a_tensor else grids)
        return output if isinstance(output, torch.Tensor) else torch.cat([part.flatten() for part in output])

    def pixels(self, grids: Grids, dtype: torch.dtype) -> torch.Tensor:
        generator = torch.Generator().manual_seed(11)
        count = sum(frames * rows * columns for frames, rows, columns in grids)
        return torch.randn(count, *self.patch, generator=generator).to(dtype).to("npu")


def _given(constructor: Any, **arguments: Any) -> Any:
    """Built with those of the arguments that this release's constructor knows."""
    known = inspect.signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in known})


def _qwen3_vl(module: Any, layers: int, prefix: str) -> Any:
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig

    config = Qwen3VLVisionConfig(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=4,
        deepstack_visual_indexes=[index for index in (0, 2, 4) if index < layers],
        num_position_embeddings=36,
    )
    return _given(module.Qwen3_VisionTransformer, vision_config=config, norm_eps=1e-6, prefix=prefix)


def _qwen2_vl(module: Any, layers: int, prefix: str) -> Any:
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

    config = Qwen2VLVisionConfig(
        depth=layers, embed_dim=160, hidden_size=48, num_heads=2, mlp_ratio=1, patch_size=4, in_channels=3
    )
    return _given(module.Qwen2VisionTransformer, vision_config=config, norm_eps=1e-6, prefix=prefix)


def _qwen2_5_vl(module: Any, layers: int, prefix: str) -> Any:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

    config = Qwen2_5_VLVisionConfig(
        depth=layers,
        hidden_size=160,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=4,
        window_size=16,
        fullatt_block_indexes=[index for index in range(layers) if index % 4 == 3],
    )
    return _given(module.Qwen2_5_VisionTransformer, vision_config=config, norm_eps=1e-6, prefix=prefix)


def _glm4_1v(module: Any, layers: int, prefix: str) -> Any:
    from transformers.models.glm4v.configuration_glm4v import Glm4vVisionConfig
    from vllm.config import MultiModalConfig

    config = Glm4vVisionConfig(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=4,
        image_size=24,
        rms_norm_eps=1e-6,
    )
    return _given(
        module.Glm4vVisionTransformer,
        vision_config=config,
        norm_eps=1e-6,
        multimodal_config=MultiModalConfig(),
        text_config=SimpleNamespace(intermediate_size=config.intermediate_size),
        prefix=prefix,
    )


def _qwen3_omni(module: Any, layers: int, prefix: str) -> Any:
    from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeVisionEncoderConfig

    config = Qwen3OmniMoeVisionEncoderConfig(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=4,
        num_position_embeddings=36,
        deepstack_visual_indexes=[index for index in (0, 2, 4) if index < layers],
    )
    # Published configurations have these two beside what their class declares.
    config.image_size, config.apply_vit_abs_pos_embed = 24, True
    return _given(module.Qwen3Omni_VisionTransformer, vision_config=config, norm_eps=1e-6, prefix=prefix)


def _kimi_k2_5(module: Any, layers: int, prefix: str) -> Any:
    made = getattr(module, "KimiK25VisionConfig", None) or module.Kimi_K25VisionConfig
    config = made(
        patch_size=4,
        init_pos_emb_height=6,
        init_pos_emb_width=6,
        init_pos_emb_time=4,
        num_attention_heads=2,
        num_hidden_layers=layers,
        hidden_size=144,
        intermediate_size=96,
    )
    model = _given(module.MoonViT3dPretrainedModel, config=config, prefix=prefix)
    for positions in model.modules():
        # A table of float32, which checkpoints load in their own type.
        if hasattr(positions, "time_weight"):
            positions.time_weight = positions.time_weight.to(torch.get_default_dtype())
    return model


TEMPORAL = (3 * 2 * 4 * 4,)
ENCODERS = {
    "Qwen3-VL": Encoder("qwen3_vl", _qwen3_vl, TEMPORAL),
    "Qwen2-VL": Encoder("qwen2_vl", _qwen2_vl, TEMPORAL),
    "Qwen2.5-VL": Encoder("qwen2_5_vl", _qwen2_5_vl, TEMPORAL),
    "Qwen3-Omni": Encoder("qwen3_omni_moe_thinker", _qwen3_omni, TEMPORAL, grids_in_a_tensor=True),
    "GLM-4.1V": Encoder("glm4_1v", _glm4_1v, TEMPORAL),
    "Kimi-K2.5": Encoder("kimi_k25_vit", _kimi_k2_5, (3, 4, 4), grids_in_a_tensor=True),
}
