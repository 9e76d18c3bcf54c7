"""The vision encoders that can be built, by name: small ones, and those of a checkpoint; and what they are given."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks import world
from ascend_patches.upstream import distributions

Grids = list[list[int]]
GRIDS: Grids = [[1, 4, 6], [2, 8, 4], [1, 2, 2]]
"""Frames, rows and columns of two images and a video between them; no two have the same number of patches."""

_MODELS = "vllm.model_executor.models"


@dataclass(frozen=True)
class Encoder:
    """One model's encoder, and how to build it."""

    module: str
    small: Callable[[Any, int], Any]
    """The configuration of a small one, of the model's module and a number of layers."""
    construct: Callable[[Any, Any, str], Any]
    """An encoder of the model's module, a configuration and a prefix."""
    patch: Callable[[Any], tuple[int, ...]]
    """The shape of a patch's pixels, by the configuration."""
    grids_in_a_tensor: bool = False

    def there(self) -> bool:
        return distributions.has_module(f"{_MODELS}.{self.module}")

    def made(self, layers: int, dtype: torch.dtype, *, prefix: str = "visual", as_on_an_npu: bool = True) -> Any:
        """A small one with weights that are the same whenever it is made."""
        model = self.constructed(lambda module: self.small(module, layers), dtype, prefix=prefix)
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).to(dtype)
        world.finish(model, as_on_an_npu=as_on_an_npu)
        return model.to("npu")

    def constructed(self, configuration: Callable[[Any], Any], dtype: torch.dtype, *, prefix: str = "visual") -> Any:
        """One on the host, with the weights that it was made with."""
        world.enter()
        module = importlib.import_module(f"{_MODELS}.{self.module}")
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with world.configured():
                return self.construct(module, configuration(module), prefix).eval()
        finally:
            torch.set_default_dtype(before)

    def run(self, model: Any, grids: Grids, dtype: torch.dtype) -> torch.Tensor:
        """One forward of a small one."""
        return self.forward(model, self.pixels(grids, dtype), grids)

    def forward(self, model: Any, pixels: torch.Tensor, grids: Grids) -> torch.Tensor:
        """One forward, as the release's models call it; of several outputs all, one after the other."""
        output = model(pixels, torch.tensor(grids) if self.grids_in_a_tensor else grids)
        return output if isinstance(output, torch.Tensor) else torch.cat([part.flatten() for part in output])

    def pixels(self, grids: Grids, dtype: torch.dtype, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """The patches of pictures, of the shape that a small encoder takes or of another."""
        generator = torch.Generator().manual_seed(11)
        count = sum(frames * rows * columns for frames, rows, columns in grids)
        shape = shape or self.patch(SimpleNamespace(patch_size=_PATCH))
        return torch.randn(count, *shape, generator=generator).to(dtype).to("npu")


_PATCH = 4


def _given(constructor: Any, **arguments: Any) -> Any:
    """Built with those of the arguments that this release's constructor knows."""
    known = inspect.signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in known})


def _configured(model: str, name: str) -> Any:
    """A configuration's class of transformers."""
    return getattr(importlib.import_module(f"transformers.models.{model}.configuration_{model}"), name)


def _deepstack(layers: int) -> list[int]:
    return [index for index in (0, 2, 4) if index < layers]


def _small_qwen3_vl(module: Any, layers: int) -> Any:
    return _configured("qwen3_vl", "Qwen3VLVisionConfig")(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=_PATCH,
        deepstack_visual_indexes=_deepstack(layers),
        num_position_embeddings=36,
    )


def _small_qwen2_vl(module: Any, layers: int) -> Any:
    return _configured("qwen2_vl", "Qwen2VLVisionConfig")(
        depth=layers, embed_dim=160, hidden_size=48, num_heads=2, mlp_ratio=1, patch_size=_PATCH, in_channels=3
    )


def _small_qwen2_5_vl(module: Any, layers: int) -> Any:
    return _configured("qwen2_5_vl", "Qwen2_5_VLVisionConfig")(
        depth=layers,
        hidden_size=160,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=_PATCH,
        window_size=16,
        fullatt_block_indexes=[index for index in range(layers) if index % 4 == 3],
    )


def _small_glm4_1v(module: Any, layers: int) -> Any:
    return _configured("glm4v", "Glm4vVisionConfig")(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=_PATCH,
        image_size=24,
        rms_norm_eps=1e-6,
    )


def _small_qwen3_omni(module: Any, layers: int) -> Any:
    config = _configured("qwen3_omni_moe", "Qwen3OmniMoeVisionEncoderConfig")(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=_PATCH,
        num_position_embeddings=36,
        deepstack_visual_indexes=_deepstack(layers),
    )
    # Published configurations have these two beside what their class declares.
    config.image_size, config.apply_vit_abs_pos_embed = 24, True
    return config


def _small_kimi_k2_5(module: Any, layers: int) -> Any:
    made = getattr(module, "KimiK25VisionConfig", None) or module.Kimi_K25VisionConfig
    return made(
        patch_size=_PATCH,
        init_pos_emb_height=6,
        init_pos_emb_width=6,
        init_pos_emb_time=4,
        num_attention_heads=2,
        num_hidden_layers=layers,
        hidden_size=144,
        intermediate_size=96,
    )


def _of_class(name: str) -> Callable[[Any, Any, str], Any]:
    return lambda module, config, prefix: _given(
        getattr(module, name), vision_config=config, norm_eps=1e-6, prefix=prefix
    )


def _glm4_1v(module: Any, config: Any, prefix: str) -> Any:
    from vllm.config import MultiModalConfig

    return _given(
        module.Glm4vVisionTransformer,
        vision_config=config,
        norm_eps=1e-6,
        multimodal_config=MultiModalConfig(),
        text_config=SimpleNamespace(intermediate_size=config.intermediate_size),
        prefix=prefix,
    )


def _kimi_k2_5(module: Any, config: Any, prefix: str) -> Any:
    model = _given(module.MoonViT3dPretrainedModel, config=config, prefix=prefix)
    for positions in model.modules():
        # A table of float32, which checkpoints load in their own type.
        if hasattr(positions, "time_weight"):
            positions.time_weight = positions.time_weight.to(torch.get_default_dtype())
        # A table for 512 by 512 patches, of which these inputs need a corner.
        if hasattr(positions, "max_height"):
            positions.max_height = positions.max_width = 16
    return model


def _two_frames(config: Any) -> tuple[int, ...]:
    """The pixels of a patch in three colours, of two frames that are made one."""
    return (3 * getattr(config, "temporal_patch_size", 2) * config.patch_size**2,)


def _one_frame(config: Any) -> tuple[int, ...]:
    return (3, config.patch_size, config.patch_size)


ENCODERS = {
    "Qwen3-VL": Encoder("qwen3_vl", _small_qwen3_vl, _of_class("Qwen3_VisionTransformer"), _two_frames),
    "Qwen2-VL": Encoder("qwen2_vl", _small_qwen2_vl, _of_class("Qwen2VisionTransformer"), _two_frames),
    "Qwen2.5-VL": Encoder("qwen2_5_vl", _small_qwen2_5_vl, _of_class("Qwen2_5_VisionTransformer"), _two_frames),
    "Qwen3-Omni": Encoder(
        "qwen3_omni_moe_thinker",
        _small_qwen3_omni,
        _of_class("Qwen3Omni_VisionTransformer"),
        _two_frames,
        grids_in_a_tensor=True,
    ),
    "GLM-4.1V": Encoder("glm4_1v", _small_glm4_1v, _glm4_1v, _two_frames),
    "Kimi-K2.5": Encoder("kimi_k25_vit", _small_kimi_k2_5, _kimi_k2_5, _one_frame, grids_in_a_tensor=True),
}
