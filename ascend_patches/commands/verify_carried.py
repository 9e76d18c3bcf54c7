"""What verify can say of a carried patch, which has no checks: it is in place, and every name that it uses is there."""

from __future__ import annotations

import builtins
import dis
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Variant
from ascend_patches.declaring.target import Target
from ascend_patches.upstream import fingerprints

_BY_NAME = ("LOAD_GLOBAL", "LOAD_NAME")


def problems(variant: Variant, values: Iterable[tuple[Target, Any]]) -> list[str]:
    """What is wrong with carried code that was put in place; ``values`` are what its targets hold now."""
    held = dict(values)
    found = []
    for rewrite in variant.rewrites:
        if not isinstance(rewrite, Carried):
            continue
        if rewrite.target not in held:
            found.append(f"{rewrite.target} is not in place")
            continue
        namespace = vars(sys.modules[rewrite.home])
        for function in _functions(held[rewrite.target], rewrite.file):
            found += [
                f"{rewrite.target} uses {name}, which {rewrite.home} does not have"
                for name in sorted(set(_globals(function.__code__)))
                if name not in namespace and not hasattr(builtins, name)
            ]
    return list(dict.fromkeys(found))


def _functions(value: Any, file: str) -> Iterator[FunctionType]:
    """A function, or those of a class, that were made of a patch's file."""
    for each in vars(value).values() if isinstance(value, (type, ModuleType)) else (value,):
        plain = fingerprints.plain_function(each)
        if plain is not None and plain.__code__.co_filename == file:
            yield plain


def _globals(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in _BY_NAME:
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)
