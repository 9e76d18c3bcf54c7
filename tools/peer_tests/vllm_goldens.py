"""A plugin of pytest that lets vLLM's own goldens of encoder attention run on an NPU and on another release of vLLM.

The tests are those of one vLLM, as its sdist has them. What a release keeps elsewhere is found under the name that they
use as well, what they ask of "cuda" they ask of "npu", and the release's worker has registered its layers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

_MOVED = {
    "vllm.model_executor.layers.attention": ("vllm.attention.layers.mm_encoder_attention", ("MMEncoderAttention",)),
    "vllm.v1.attention.backends.registry": ("vllm.attention.backends.registry", ("AttentionBackendEnum",)),
    "vllm.v1.attention.selector": ("vllm.attention.selector", ("_cached_get_attn_backend",)),
    "vllm.utils.torch_utils": ("vllm.model_executor.utils", ("set_random_seed",)),
}
"""By the module that the tests import from: where an older release has the names."""

_OF_OTHER_DEVICES: dict[str, tuple[str, ...]] = {
    "vllm.platforms.cuda": ("CudaPlatform",),
    "vllm.platforms.rocm": ("RocmPlatform", "on_mi3xx"),
}
"""Imported by the tests for goldens of those devices, which are not run; they want vLLM's compiled part."""


def pytest_configure(config: pytest.Config) -> None:
    for name, (place, attributes) in _MOVED.items():
        _also_known_as(name, place, attributes)
    for name, names in _OF_OTHER_DEVICES.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(names))
    # It lets the device take float32 as well, which a third of the goldens is in and a real NPU's attention refuses.
    importlib.import_module("ascend_patches.checks.world").enter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        arguments: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if arguments.get("device") == "cuda":
            arguments["device"] = "npu"


@pytest.fixture
def default_vllm_config() -> Iterator[Any]:
    """The configuration that the goldens are built in; vLLM's own wants its whole test environment."""
    world = importlib.import_module("ascend_patches.checks.world")
    with world.configured():
        yield importlib.import_module("vllm.config").get_current_vllm_config()


def _also_known_as(name: str, place: str, attributes: tuple[str, ...]) -> None:
    """Let ``name`` have the attributes of ``place``, the module that an older release keeps them in."""
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError:
        found = sys.modules[name] = importlib.import_module(place)
    for attribute in attributes:
        if not hasattr(found, attribute):
            setattr(found, attribute, getattr(importlib.import_module(place), attribute))
