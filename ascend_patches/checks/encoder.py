"""An encoder of a release that can be built: a small one, or that of a checkpoint; and what it is given."""

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

PATCH = 4
"""The rows and columns of a patch of a small encoder."""

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
    call: Callable[[Any, torch.Tensor, Grids], Any] | None = None
    """How the release's models call it, of the encoder, pixels and grids, where that is not with these two alone."""

    @property
    def path(self) -> str:
        """The module by its whole name; one of vLLM's folder of models is named without that."""
        return self.module if "." in self.module else f"{_MODELS}.{self.module}"

    def there(self) -> bool:
        return distributions.has_module(self.path)

    def made(self, layers: int, dtype: torch.dtype, *, prefix: str = "visual", as_on_an_npu: bool = True) -> Any:
        """A small one with weights that are the same whenever it is made."""
        model = self.constructed(lambda module: self.small(module, layers), dtype, prefix=prefix)
        fill(model, 0.1, dtype)
        world.finish(model, as_on_an_npu=as_on_an_npu)
        return moved(model)

    def constructed(self, configuration: Callable[[Any], Any], dtype: torch.dtype, *, prefix: str = "visual") -> Any:
        """One on the device, with the weights that it was made with.

        It is made there, as a service makes its model: a parameter that is moved there later is one of torch's, and
        what torch does with those that the release's layers make takes another time. Some make a table on the host.
        """
        world.enter()
        module = importlib.import_module(self.path)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with world.configured(), torch.device("npu"):
                return self.construct(module, configuration(module), prefix).eval()
        finally:
            torch.set_default_dtype(before)

    def run(self, model: Any, grids: Grids, dtype: torch.dtype) -> torch.Tensor:
        """One forward of a small one."""
        return self.forward(model, self.pixels(grids, dtype), grids)

    def forward(self, model: Any, pixels: torch.Tensor, grids: Grids) -> torch.Tensor:
        """One forward, as the release's models call it; of several outputs all, one after the other."""
        if self.call is not None:
            output = self.call(model, pixels, grids)
        else:
            output = model(pixels, torch.tensor(grids) if self.grids_in_a_tensor else grids)
        return output if isinstance(output, torch.Tensor) else torch.cat([part.flatten() for part in output])

    def pixels(self, grids: Grids, dtype: torch.dtype, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """The patches of pictures, of the shape that a small encoder takes or of another."""
        generator = torch.Generator().manual_seed(11)
        count = sum(frames * rows * columns for frames, rows, columns in grids)
        shape = shape or self.patch(SimpleNamespace(patch_size=PATCH))
        return torch.randn(count, *shape, generator=generator).to(dtype).to("npu")


def fill(model: Any, scale: float, dtype: torch.dtype | None = None) -> None:
    """Give a model's parameters values that are the same whenever it is filled, of their own type or of another."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        values = torch.randn(parameter.shape, generator=generator, device="cpu") * scale
        parameter.data = values.to(dtype or parameter.dtype).to(parameter.device)


def moved(model: Any) -> Any:
    """With what it made on the host on the device as well, and parameters as they are."""
    for part in model.modules():
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = buffer.to("npu")
    return model


def given(constructor: Any, **arguments: Any) -> Any:
    """Built with those of the arguments that this release's constructor knows."""
    known = inspect.signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in known})


def configured(model: str, name: str) -> Any:
    """A configuration's class of transformers."""
    return getattr(importlib.import_module(f"transformers.models.{model}.configuration_{model}"), name)


def of_class(name: str, **more: Any) -> Callable[[Any, Any, str], Any]:
    """Constructs a class of the model's module, whatever its release calls the configuration."""

    def construct(module: Any, config: Any, prefix: str) -> Any:
        return given(
            getattr(module, name),
            **{"vision_config": config, "config": config, "norm_eps": 1e-6, "prefix": prefix} | more,
        )

    return construct


def two_frames(config: Any) -> tuple[int, ...]:
    """The pixels of a patch in three colours, of two frames that are made one."""
    return (3 * getattr(config, "temporal_patch_size", 2) * config.patch_size**2,)


def one_frame(config: Any) -> tuple[int, ...]:
    return (3, config.patch_size, config.patch_size)
