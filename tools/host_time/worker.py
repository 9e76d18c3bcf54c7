"""A release's worker as far as vision encoders notice it: its own classes registered by its own function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, Encoder


def start() -> None:
    """Register what the worker registers when it starts, then make the world that models expect."""
    world.start()
    with world.configured():
        utils = importlib.import_module("vllm_ascend.utils")
        no_model = SimpleNamespace(model_config=SimpleNamespace(is_deepseek_mla=False))
        _with_what_is_missing(lambda: utils.register_ascend_customop(no_model))
        importlib.import_module("vllm_ascend.ascend_config").init_ascend_config(world._configuration())
    world.enter()


class _Missing(ModuleType):
    """A package of kernels that comes with an NPU's image; what encoders have no use for can be imported from it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> NoReturn:
            raise NotImplementedError(f"{self.__name__}.{name} is not here")

        return refuse


def _with_what_is_missing(register: Callable[[], object]) -> None:
    """Call a function that imports all of vllm-ascend's layers; those for other models may want more than is here."""
    while True:
        try:
            register()
            return
        except ModuleNotFoundError as error:
            name = error.name or ""
            if not name or name in sys.modules or name.partition(".")[0] in ("vllm", "vllm_ascend", "torch_npu"):
                raise
            sys.modules[name] = _Missing(name)


def encoders() -> dict[str, Encoder]:
    return dict(ENCODERS)
