"""Lets a model be imported whose projector is made of parts of timm, a package that vLLM does not require.

Its vision encoder, which is in the same module, uses none of them.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAMES = {
    "timm": (),
    "timm.layers": ("LayerNorm", "LayerNorm2d"),
    "timm.layers.pos_embed": ("resample_abs_pos_embed",),
    "timm.models": (),
    "timm.models.regnet": ("RegStage",),
}


def start() -> None:
    """Put modules with these names where the import looks first, unless timm is installed."""
    if importlib.util.find_spec("timm") is not None:
        return
    for name, members in _NAMES.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        for member in members:
            setattr(module, member, type(member, (), {}))
        sys.modules[name] = module
