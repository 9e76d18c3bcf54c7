"""Make what takes the place of a target.

What is put in place is a plain function with upstream's name, module, doc and signature: a call costs what a call of
any function costs, and pickling by reference finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Rewrite
from ascend_patches.errors import TargetError
from ascend_patches.replacing import nature
from ascend_patches.replacing.class_bases import BasesSite
from ascend_patches.replacing.fields_site import FieldsSite
from ascend_patches.replacing.find import ABSENT, Found, function_of
from ascend_patches.replacing.sign import signature_difference
from ascend_patches.replacing.site import Site
from ascend_patches.upstream.fingerprints import plain_function

_KINDS: dict[str, type[Site]] = {"bases": BasesSite, "fields": FieldsSite}
"""What is no value in a namespace."""


def prepare(rewrite: Rewrite, found: Found) -> Any:
    """What is to stand at the target; TargetError if it does not fit there."""
    replacement = rewrite.replacement()
    if not callable(replacement):
        raise TargetError(f"{rewrite.target}: its replacement is no function but {type(replacement).__name__}")
    if rewrite.around is not None:
        from ascend_patches.replacing.advice import advised

        return advised(rewrite.target, found.value, replacement)
    original = plain_function(found.value)
    function = plain_function(replacement)
    if original is not None and function is not None:
        difference = signature_difference(original, function)
        if difference:
            raise TargetError(f"{rewrite.target}: the replacement does not fit: {difference}")
    if function is not None and nature.calls_super_in_vain(function.__code__):
        raise TargetError(
            f"{rewrite.target}: the replacement calls super() and is written outside of a class, where that fails: "
            "write super(CLASS, self), or write the replacement as a method of a class"
        )
    if isinstance(replacement, FunctionType):
        replacement = _dressed(replacement, found, original, rewrite.module)
    return _as_kept(rewrite, found, replacement)


def dressed_like(rewrite: Rewrite, found: Found, function: Callable[..., Any]) -> Any:
    """A function as the same kind of attribute as a target, by the target's name."""
    original = plain_function(found.value)
    return _bound_like(found.value, _dressed(cast(FunctionType, function), found, original, rewrite.module))


def _as_kept(rewrite: Rewrite, found: Found, replacement: Any) -> Any:
    """The replacement with the target's nature; what its author has decorated keeps the author's decoration."""
    if nature.is_decorated(replacement):
        return _bound_like(found.value, replacement)
    try:
        return nature.made_like(found.value, replacement)
    except nature.NatureError as error:
        raise TargetError(f"{rewrite.target}: cannot be replaced: it {error}") from None


def site_of(rewrite: Rewrite, found: Found, value: Any, in_front: Any = None) -> Site:
    """A target as it will be, with a prepared value in its place, or with what stands in front of that."""
    installed = value if in_front is None else in_front
    kind = _KINDS.get(rewrite.kind, Site) if isinstance(rewrite, Carried) else Site
    site = kind(rewrite.target, found.owner, found.name, ABSENT if found.inherited else found.value, installed)
    site.original = found.value
    site.replacement = value if type(site) is Site else site.after
    site.alone = isinstance(rewrite, Carried) and rewrite.kind != "function"
    if isinstance(rewrite, Carried) and rewrite.kind == "module":
        site.module_name = rewrite.home
    if rewrite.original_as is not None:
        # Where upstream's decorators are around the replacement, it takes the place of what they are around.
        made = nature.is_decorated(found.value) and not nature.is_decorated(rewrite.replacement())
        site.original = plain_function(found.value) if made else found.value
        site.keeps_original_in = getattr(plain_function(value) if made else function_of(value), "__globals__", None)
        site.keeps_original_as = rewrite.original_as
        if site.keeps_original_in is None:
            raise TargetError(f"{site.target}: original_as= needs a replacement written in Python")
    return site


def _dressed(function: FunctionType, found: Found, original: FunctionType | None, module: str) -> FunctionType:
    """A copy of a function that goes by the name of what it replaces, where it replaces it."""
    dressed = FunctionType(
        function.__code__,
        function.__globals__,
        found.name,
        function.__defaults__,
        nature.closure_in(function, found.owner),
    )
    dressed.__kwdefaults__ = function.__kwdefaults__
    dressed.__dict__.update({**(original.__dict__ if original is not None else {}), **function.__dict__})
    if not nature.is_decorated(found.value):
        dressed.__dict__.pop("__wrapped__", None)
    owner = found.owner
    dressed.__module__ = owner.__module__ if isinstance(owner, type) else module
    dressed.__qualname__ = f"{owner.__qualname__}.{found.name}" if isinstance(owner, type) else found.name
    if original is not None:
        dressed.__doc__ = original.__doc__
        dressed.__annotations__ = nature.annotations_of(original, function)
    return dressed


def _bound_like(original: Any, replacement: Callable[..., Any]) -> Any:
    """The replacement as the same kind of attribute as the original."""
    if isinstance(original, (staticmethod, classmethod)):
        return type(original)(replacement)
    if isinstance(original, property):
        return property(replacement, original.fset, original.fdel, original.__doc__)
    return replacement
