"""Whether a layer's submodule does what one of our replacements does and nothing else, so that it need not be called.

A replacement says what stands behind it. A submodule answers by that only where a call of it would run exactly that
function: not through another patch's wrapper, not shadowed, not compiled, and with no hook before or after.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import torch

_SAID = "_ascend_patches_stands_for"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class _Said(NamedTuple):
    code: CodeType
    """Of the replacement: a wrapper that copied its attributes has another."""
    answer: Any


def stands_for(function: Callable[..., Any], answer: Any) -> None:
    """Say what a replacement amounts to, for layers that know how to do without calling it."""
    assert isinstance(function, FunctionType)
    setattr(function, _SAID, _Said(function.__code__, answer))


def behind(module: Any) -> Any:
    """What the replacement behind one of vLLM's custom ops stands for; None if a call might do anything else."""
    own = module.__dict__
    method = own.get("_forward_method")
    if type(method) is not MethodType or method.__self__ is not module:
        return None
    said: _Said | None = getattr(method.__func__, _SAID, None)
    if said is None or said.code is not getattr(method.__func__, "__code__", None):
        return None
    if not untouched(module):
        return None
    kind: Any = type(module)
    return said.answer if kind.forward is _forward_of_custom_ops() else None


def untouched(module: Any) -> bool:
    """Whether a call of a module runs its class's forward, with no hook of its own before or after."""
    own = module.__dict__
    return not ("forward" in own or own.get("_compiled_call_impl") is not None or any(map(own.get, _HOOKS)))


def hooked_everywhere() -> bool:
    """Whether torch calls a global hook before or after every module."""
    return bool(torch.nn.modules.module._has_any_global_hook())


def _forward_of_custom_ops() -> Any:
    module = sys.modules.get("vllm.model_executor.custom_op")
    return module.CustomOp.forward if module is not None else None
