"""The vision encoder of a user's checkpoint, and forwards of it: ``ascend-patches verify --model``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ascend_patches.checks import world
from ascend_patches.checks.check import WITH_VLLM_ASCEND, Call, Check
from ascend_patches.checks.encoders import ENCODERS, Encoder, Grids
from ascend_patches.checks.whole_encoders import widened
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions

_ENCODER_OF = {
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "qwen3_vl_moe": "Qwen3-VL",
    "qwen3_omni_moe": "Qwen3-Omni",
    "glm4v": "GLM-4.1V",
    "glm4v_moe": "GLM-4.1V",
}
"""The encoder by ``model_type`` of config.json."""
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
        return ENCODERS[self.title]

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        return "of the checkpoint" if self.files else "random, because the folder has no safetensors"

    def made(self) -> Any:
        model = self.encoder.constructed(lambda _: self.vision, getattr(torch, self.dtype))
        if self.files:
            known = {name for name, _ in model.named_parameters()}
            loaded = model.load_weights(_visual_weights(self.files))
            missing = sorted(known - loaded) if loaded is not None else []
            if missing:
                raise CheckpointError(f"{self.folder} has no weights for {missing[0]} and {len(missing) - 1} others")
        else:
            generator = torch.Generator().manual_seed(3)
            for parameter in model.parameters():
                parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.02).to(parameter.dtype)
        world.finish(model, as_on_an_npu=True)
        return model.to("npu")

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
    if kind not in _ENCODER_OF:
        raise CheckpointError(
            f"{folder} is a {kind!r}, whose vision encoder cannot be built here; known: {', '.join(_ENCODER_OF)}"
        )
    return _ENCODER_OF[kind]


def read(folder: str) -> Checkpoint:
    """The checkpoint in a folder; of its weights nothing is read yet."""
    path, written = Path(folder), _configuration(folder)
    title_of_encoder = _title(written, folder)
    for package in ("vllm", "transformers"):
        if not distributions.has_module(package):
            raise CheckpointError(f"{package} is not installed in this environment; use the environment that serves")
    if not ENCODERS[title_of_encoder].there():
        raise CheckpointError(f"the vLLM that is installed here has no {title_of_encoder}")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"transformers cannot read {path / 'config.json'}: {error}") from error
    config = getattr(config, "thinker_config", config)
    vision = getattr(config, "vision_config", None)
    if vision is None:
        raise CheckpointError(f"{path / 'config.json'} has no vision_config")
    dtype = written.get("dtype") or written.get("torch_dtype") or "bfloat16"
    return Checkpoint(path, title_of_encoder, vision, str(dtype), tuple(sorted(path.glob("*.safetensors"))))


def _visual_weights(files: tuple[Path, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """The encoder's weights, by the names that they have within it."""
    from safetensors import safe_open

    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
                if prefix is not None:
                    yield name.removeprefix(prefix), tensors.get_tensor(name)
