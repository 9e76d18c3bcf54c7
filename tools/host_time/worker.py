"""A release's worker as far as vision encoders notice it: its own classes registered by its own function."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

from ascend_patches.checks import encoders as checked
from ascend_patches.checks import world


def start() -> None:
    """Register what the worker registers when it starts, then make the world that models expect."""
    world.start()
    with world.configured():
        utils = importlib.import_module("vllm_ascend.utils")
        no_model = SimpleNamespace(model_config=SimpleNamespace(is_deepseek_mla=False))
        utils.register_ascend_customop(no_model)
        importlib.import_module("vllm_ascend.ascend_config").init_ascend_config(world._configuration())
    world.enter()


def encoders() -> dict[str, Any]:
    return dict(checked.ENCODERS)
