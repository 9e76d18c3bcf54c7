"""The vision encoder of a user's checkpoint, and forwards of it: ``ascend-patches verify --model``."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks import emulation, world
from ascend_patches.checks.check import WITH_VLLM_ASCEND, Call, Check
from ascend_patches.checks.encoder import fill, moved
from ascend_patches.checks.encoders import EVERY_ENCODER, Encoder, Grids
from ascend_patches.checks.more_encoders import IN_FLOAT32
from ascend_patches.checks.whole_encoders import widened
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions

MODELS = {
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "qwen3_vl_moe": "Qwen3-VL",
    "qwen3_5": "Qwen3-VL",
    "qwen3_5_moe": "Qwen3-VL",
    "qwen3_omni_moe": "Qwen3-Omni",
    "glm4v": "GLM-4.1V",
    "glm4v_moe": "GLM-4.1V",
    "glm46v": "GLM-4.1V",
    "kimi_k25": "Kimi-K2.5",
    "paddleocr_vl": "PaddleOCR-VL",
    "glm_ocr": "GLM-OCR",
    "dots_ocr": "dots.ocr",
    "kimi_vl": "Kimi-VL",
    "ernie4_5_moe_vl": "Ernie4.5-VL",
    "ernie4_5_vl_moe": "Ernie4.5-VL",
    "ovis2_5": "Ovis2.5",
    "Keye": "Keye",
    "isaac": "Isaac",
    "lfm2_vl": "LFM2-VL",
    "exaone4_5": "EXAONE-4.5",
}
"""The encoder by ``model_type`` of config.json."""
_VISION = ("vision_config", "vit_config")
"""What configurations call that of their encoder."""
_LOADED = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "Qwen3-Omni", "GLM-4.1V")
"""The encoders that load the weights of a checkpoint by themselves; others are loaded by their models."""
_PREFIXES = ("model.visual.", "thinker.visual.", "visual.")
# Of as many layers as models have.
_TOLERANCE = Tolerance(float32=1e-4, float16=3e-2, bfloat16=1e-1)
INPUTS: dict[str, Grids] = {
    "one small image": [[1, 4, 6]],
    "one image": [[1, 16, 12]],
    "a video": [[4, 8, 6]],
    "images and a video": [[1, 8, 10], [2, 8, 4], [1, 12, 4], [1, 2, 2]],
}
"""In patches: frames, rows, columns."""


class CheckpointError(AscendPatchesError):
    """A folder is not a checkpoint whose vision encoder can be built."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, as far as its vision encoder needs it."""

    folder: Path
    title: str
    vision: Any
    dtype: str
    files: tuple[Path, ...]

    @property
    def encoder(self) -> Encoder:
        return EVERY_ENCODER[self.title]

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        if not self.files:
            return "random, because the folder has no safetensors"
        return (
            "of the checkpoint" if self._loads else "random, because only the whole model can load those of its encoder"
        )

    @property
    def _loads(self) -> bool:
        return bool(self.files) and self.title in _LOADED

    def made(self) -> Any:
        try:
            model = self.encoder.constructed(lambda _: self.vision, getattr(torch, self.dtype))
        except AttributeError as error:
            raise CheckpointError(f"{self.folder}: the encoder of {self.title} cannot be built: {error}") from error
        if self._loads:
            known = {name for name, _ in model.named_parameters()}
            loaded = model.load_weights(_visual_weights(self.files))
            missing = sorted(known - loaded) if loaded is not None else []
            if missing:
                raise CheckpointError(f"{self.folder} has no weights for {missing[0]} and {len(missing) - 1} others")
        else:
            fill(model, 0.02)
        world.finish(model, as_on_an_npu=True)
        return moved(model)

    def grid(self, width: int, height: int, frames: int = 1) -> list[int]:
        """The patches of a picture of so many pixels, or of a video: frames, rows and columns."""
        merged = getattr(self.vision, "spatial_merge_size", 2)
        side = merged * self.vision.patch_size
        rows, columns = (merged * max(1, round(pixels / side)) for pixels in (height, width))
        return [max(1, frames // getattr(self.vision, "temporal_patch_size", 2)), rows, columns]

    def checks(self) -> tuple[Check, ...]:
        model_of = _Latest(self)
        return tuple(
            Check(
                name,
                partial(self._prepare, model_of, grids),
                dtypes=(self.dtype,),
                bitwise=WITH_VLLM_ASCEND,
                tolerance=_TOLERANCE,
            )
            for name, grids in INPUTS.items()
        )

    def _prepare(self, model_of: _Latest, grids: Grids, dtype: torch.dtype) -> Call:
        model, pixels = model_of.model(grids), self.encoder.pixels(grids, dtype, self.encoder.patch(self.vision))

        def exact() -> torch.Tensor:
            return self.encoder.forward(widened(model), pixels.to("cpu", torch.float64), grids)

        return Call(partial(self.encoder.forward, model, pixels, grids), exact)


class _Latest:
    """One model for all inputs of a round: loading a large one takes longer than running it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._used: list[Grids] = []
        self._model: Any = None

    def model(self, grids: Grids) -> Any:
        """A new one as soon as inputs come round again: what was built under a patch is not built without it."""
        if self._model is None or grids in self._used:
            self._model, self._used = self._checkpoint.made(), []
        self._used.append(grids)
        return self._model


def title(folder: str) -> str:
    """The encoder of the checkpoint in a folder, by its configuration alone."""
    return _title(_configuration(folder), folder)


def _configuration(folder: str) -> dict[str, Any]:
    path = Path(folder, "config.json")
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(written, dict):
        raise CheckpointError(f"{path} is no configuration of a model")
    return written


def _title(configuration: dict[str, Any], folder: str) -> str:
    kind = configuration.get("model_type")
    if kind not in MODELS:
        raise CheckpointError(
            f"{folder} is a {kind!r}, whose vision encoder cannot be built here; known: {', '.join(MODELS)}"
        )
    return MODELS[kind]


def read(folder: str) -> Checkpoint:
    """The checkpoint in a folder; of its weights nothing is read yet."""
    path, written = Path(folder), _configuration(folder)
    title_of_encoder = _title(written, folder)
    for package in ("vllm", "transformers"):
        if not distributions.has_module(package):
            raise CheckpointError(f"{package} is not installed in this environment; use the environment that serves")
    if not EVERY_ENCODER[title_of_encoder].there():
        raise CheckpointError(f"the vLLM that is installed here has no {title_of_encoder}")
    config = _read(path, written)
    config = getattr(config, "thinker_config", config)
    vision = next((getattr(config, name) for name in _VISION if getattr(config, name, None) is not None), None)
    if vision is None:
        raise CheckpointError(f"{path / 'config.json'} has no vision_config")
    dtype = str(written.get("dtype") or written.get("torch_dtype") or "bfloat16")
    if title_of_encoder in IN_FLOAT32 and emulation.in_use():
        dtype = "float32"
    return Checkpoint(path, title_of_encoder, vision, dtype, tuple(sorted(path.glob("*.safetensors"))))


def _read(folder: Path, written: dict[str, Any]) -> Any:
    """By vLLM or transformers, or as it is written where the class of the configuration is the model's own."""
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = written["model_type"]
    known = _configurations_of_vllm().get(kind)
    if known is None and kind not in CONFIG_MAPPING:
        return _plain(written)
    try:
        return known.from_pretrained(folder) if known else AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"transformers cannot read {folder / 'config.json'}: {error}") from error


def _configurations_of_vllm() -> Any:
    return importlib.import_module("vllm.transformers_utils.config")._CONFIG_REGISTRY


def _plain(value: Any) -> Any:
    """The same with attributes in place of keys."""
    return SimpleNamespace(**{key: _plain(each) for key, each in value.items()}) if isinstance(value, dict) else value


def _visual_weights(files: tuple[Path, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """The encoder's weights, by the names that they have within it."""
    from safetensors import safe_open

    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
                if prefix is not None:
                    yield name.removeprefix(prefix), tensors.get_tensor(name)
