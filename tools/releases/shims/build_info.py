"""Stands in for a module that building vllm-ascend writes: the device it was built for.

A wheel has it; from an sdist it is made by a build that wants a compiler and CANN. The values are those of the released
wheels, which are built for the A2 series.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "vllm_ascend._build_info"


def start() -> None:
    """Put the module where an import of it will look first."""
    module = ModuleType(_NAME, "As the released wheels have it.")
    module.__spec__ = ModuleSpec(_NAME, loader=None)
    module.__dict__["__device_type__"] = "A2"
    sys.modules[_NAME] = module
