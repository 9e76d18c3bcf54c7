"""Decorators that may run again when a function is made anew: what they do is the function's own."""

from __future__ import annotations

import ast

_HARMLESS_DECORATORS = (
    "staticmethod",
    "classmethod",
    "property",
    "abstractmethod",
    "abc.abstractmethod",
    "override",
    "typing.override",
    "typing_extensions.override",
    "torch.no_grad",
    "torch.inference_mode",
    "triton.jit",
    "contextmanager",
    "contextlib.contextmanager",
    "functools.wraps",
    "wraps",
    "functools.lru_cache",
    "lru_cache",
    "functools.cache",
    "cache",
    "functools.cached_property",
    "cached_property",
    "triton.autotune",
    "triton.heuristics",
    "torch.compile",
    "torch.compiler.disable",
)


def undecorable(node: ast.stmt) -> str:
    """Why a function's decorators forbid making it anew."""
    for decorator in getattr(node, "decorator_list", []):
        text = ast.unparse(decorator)
        if text.partition("(")[0] not in _HARMLESS_DECORATORS:
            return f"@{text} runs when it is defined, and what it does there cannot be undone"
    return ""
