"""What a release's worker does as far as vision encoders notice it: its own classes, by its own function."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from ascend_patches.checks import world


def start() -> None:
    """Register what the worker registers when it starts, then make the world that models expect."""
    world.start()
    if world.with_vllm_ascend():
        with world.configured():
            _register()
            importlib.import_module("vllm_ascend.ascend_config").init_ascend_config(
                importlib.import_module("vllm.config").get_current_vllm_config()
            )
    world.enter()


def _register() -> None:
    register = importlib.import_module("vllm_ascend.utils").register_ascend_customop
    no_model = SimpleNamespace(model_config=SimpleNamespace(is_deepseek_mla=False))
    arguments = (no_model,) if inspect.signature(register).parameters else ()
    _with_what_is_missing(lambda: register(*arguments))


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
