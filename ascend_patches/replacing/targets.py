"""Targets: find what is to be replaced, replace it, read it back, undo it.

What is put in place is a plain function with upstream's name, module, doc and signature: a call costs what a call of
any function costs, and pickling by reference finds it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable
from types import CellType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, cast

from ascend_patches.declaring.patch import Rewrite
from ascend_patches.errors import TargetError
from ascend_patches.upstream.fingerprints import node_of_function, plain_function

_GENERATOR_OR_COROUTINE = 0x20 | 0x80 | 0x200


class _Absent:
    """What a class has under a name that it only inherits."""

    def __repr__(self) -> str:
        return "inherited"


ABSENT = _Absent()


class Found(NamedTuple):
    """A target as it stands: the module or class it is set on, and what is there."""

    owner: ModuleType | type
    name: str
    value: Any
    inherited: bool


class Site:
    """One target that was replaced: all there is to know to check it and to undo it."""

    __slots__ = ("after", "before", "keeps_original_as", "keeps_original_in", "name", "owner", "target")

    def __init__(self, target: str, owner: ModuleType | type, name: str, before: Any, after: Any) -> None:
        self.target = target
        self.owner = owner
        self.name = name
        self.before = before
        self.after = after
        self.keeps_original_in: dict[str, Any] | None = None
        self.keeps_original_as = ""

    def in_place(self) -> bool:
        return self.owner.__dict__.get(self.name) is self.after

    def reversed(self) -> Site:
        """The site as if the replacement had been the original, to ask who still holds the replacement."""
        return Site(self.target, self.owner, self.name, self.after, self.before)

    def owner_now(self) -> str:
        """Whose work is there, if it is not ours any more."""
        return _author(self.owner.__dict__.get(self.name, ABSENT))


def find(target: str, module: ModuleType) -> Found:
    """The target in its module, without running anything that a lookup could run."""
    name, _, path = target.partition(":")
    *classes, attribute = path.split(".")
    owner: ModuleType | type = module
    for class_name in classes:
        value = _lookup(owner, class_name)
        if not isinstance(value, type):
            what = "has no class" if value is ABSENT else "has something that is not a class under the name"
            raise TargetError(f"{target}: {_called(owner, name)} {what} {class_name}")
        owner = value
    value = _lookup(owner, attribute)
    if value is ABSENT:
        raise TargetError(f"{target}: {_called(owner, name)} has no {attribute}")
    if not callable(value) and not isinstance(value, (staticmethod, classmethod, property)):
        raise TargetError(f"{target}: is no function but {type(value).__name__}")
    return Found(owner, attribute, value, attribute not in owner.__dict__)


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
    if isinstance(replacement, FunctionType):
        replacement = _dressed(replacement, found, original, rewrite.module)
    return _bound_like(found.value, replacement)


def dressed_like(rewrite: Rewrite, found: Found, function: Callable[..., Any]) -> Any:
    """A function as the same kind of attribute as a target, by the target's name."""
    original = plain_function(found.value)
    return _bound_like(found.value, _dressed(cast(FunctionType, function), found, original, rewrite.module))


def install(rewrite: Rewrite, found: Found, value: Any, in_front: Any = None) -> Site:
    """Put a prepared value in place, or what stands in front of it, and read it back."""
    installed = value if in_front is None else in_front
    site = Site(rewrite.target, found.owner, found.name, ABSENT if found.inherited else found.value, installed)
    if rewrite.original_as is not None:
        _keep_original(site, rewrite.original_as, found, value)
    try:
        _set(site.owner, site.name, installed)
    except (TypeError, AttributeError) as error:
        _forget_original(site)
        raise TargetError(f"{rewrite.target}: cannot be replaced: {error}") from None
    if not site.in_place():
        _forget_original(site)
        raise TargetError(f"{rewrite.target}: was set, but reads back as something else")
    return site


def undo(site: Site) -> None:
    """Put back what was there. Whether the site is still ours is for the caller to ask first.

    A replacement keeps its original: an existing object may go on holding it as a bound method, and calling it.
    """
    if site.before is ABSENT:
        type.__delattr__(site.owner, site.name)
    else:
        _set(site.owner, site.name, site.before)


def rebind(sites: Iterable[Site], except_modules: Collection[str] = ()) -> None:
    """Point the modules that took a module's function with ``from x import y`` to its replacement."""
    replaced = {id(site.before): site for site in sites if not isinstance(site.owner, type)}
    if not replaced:
        return
    for name, module in list(sys.modules.items()):
        if name in except_modules:
            continue
        try:
            # Not getattr: a lazy module would import all it has.
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        for key, value in list(names.items()):
            site = replaced.get(id(value))
            if site is not None and not (names is site.keeps_original_in and key == site.keeps_original_as):
                names[key] = site.after


def foreign_wrapper(value: Any) -> str:
    """Whose wrapper is on upstream's function, put there by none of upstream's decorators; empty if there is none."""
    upstream = plain_function(value)
    if upstream is None or upstream is _function_of(value):
        return ""
    node = node_of_function(upstream)
    decorators = {ast.unparse(each) for each in getattr(node, "decorator_list", ())}
    if node is None or decorators - {"staticmethod", "classmethod", "property"}:
        return ""
    return _author(value)


def out_of_reach(sites: Iterable[Site]) -> dict[str, list[str]]:
    """Who still holds an original after it was replaced, in words and by target: bound methods, closures, containers.

    It looks at every object of the process, which takes a third of a second in a server: ask for all sites at once.
    """
    import gc

    held = {id(_function_of(site.before)): site for site in sites if site.before is not ABSENT}
    if not held:
        return {}
    originals = tuple(_function_of(site.before) for site in held.values())
    counted: dict[tuple[str, str], int] = {}
    for referrer in gc.get_referrers(*originals):
        if referrer is originals or type(referrer) in (Site, Found, FrameType):
            continue
        for referent in gc.get_referents(referrer):
            site = held.get(id(referent))
            described = _describe_holder(referrer, referent, site) if site is not None else None
            if site is not None and described is not None:
                counted[site.target, described] = counted.get((site.target, described), 0) + 1
    told: dict[str, list[str]] = {}
    for (target, holder), count in counted.items():
        times = f" ({count} times)" if count > 1 else ""
        told.setdefault(target, []).append(f"{target} is still held by {holder}{times}")
    return told


def signature_difference(original: FunctionType, replacement: FunctionType) -> str:
    """How the replacement cannot take a call that the original takes; empty if it can take all of them.

    Every parameter keeps its name, kind, place and default; only parameters with a default may be added at the end.
    """
    nature = original.__code__.co_flags & _GENERATOR_OR_COROUTINE
    if nature != replacement.__code__.co_flags & _GENERATOR_OR_COROUTINE:
        return "one of the two is a coroutine or a generator and the other is not"
    theirs, ours = _parameters(original), _parameters(replacement)
    for kind in dict.fromkeys((*theirs, *ours)):
        upstream, here = theirs.get(kind, []), ours.get(kind, [])
        if kind == "keyword-only":
            names = [parameter.name for parameter in upstream]
            here = sorted(here, key=lambda one: names.index(one.name) if one.name in names else len(names))
        for index, parameter in enumerate(upstream):
            # What gathers the rest has no name that a caller could use.
            named_alike = index < len(here) and (here[index].name == parameter.name or kind.startswith("variadic"))
            if not named_alike:
                found = f"it has {here[index].name!r} in its place" if index < len(here) else "it has none"
                return f"upstream's {kind} parameter {parameter.name!r} is missing: {found}"
            if not _same_default(here[index].default, parameter.default):
                return (
                    f"the default of {parameter.name!r} is {_shown(parameter.default)} upstream "
                    f"and {_shown(here[index].default)} in the replacement"
                )
        for added in here[len(upstream) :]:
            if added.default is ABSENT and not kind.startswith("variadic"):
                return f"its parameter {added.name!r} is not upstream's and has no default"
            if kind == "positional" and ("variadic positional" in theirs or theirs.get("keyword-only")):
                return f"its parameter {added.name!r} would take a value that upstream takes otherwise"
    return ""


class _Parameter(NamedTuple):
    name: str
    default: Any


def _parameters(function: FunctionType) -> dict[str, list[_Parameter]]:
    code = function.__code__
    names = code.co_varnames
    count, positional_only = code.co_argcount, code.co_posonlyargcount
    defaults = function.__defaults__ or ()
    padded = (*(ABSENT,) * (count - len(defaults)), *defaults)
    positional = [_Parameter(names[index], padded[index]) for index in range(count)]
    keyword_defaults = function.__kwdefaults__ or {}
    end = count + code.co_kwonlyargcount
    found = {
        "positional-only": positional[:positional_only],
        "positional": positional[positional_only:],
        "keyword-only": [_Parameter(name, keyword_defaults.get(name, ABSENT)) for name in names[count:end]],
    }
    if code.co_flags & 0x04:
        found["variadic positional"] = [_Parameter(names[end], ABSENT)]
        end += 1
    if code.co_flags & 0x08:
        found["variadic keyword"] = [_Parameter(names[end], ABSENT)]
    return found


def _same_default(ours: Any, theirs: Any) -> bool:
    if ours is theirs:
        return True
    if type(ours) is not type(theirs):
        return False
    try:
        return bool(ours == theirs)
    except Exception:  # an array, say: compared by what it prints
        return repr(ours) == repr(theirs)


def _shown(default: Any) -> str:
    return "absent" if default is ABSENT else repr(default)


def _lookup(owner: ModuleType | type, name: str) -> Any:
    for namespace in owner.__mro__ if isinstance(owner, type) else (owner,):
        if name in namespace.__dict__:
            return namespace.__dict__[name]
    return ABSENT


def _author(value: Any) -> str:
    """Who wrote what is called, by the code: a wrapper has copied __module__, and __wrapped__ leads past it."""
    value = _function_of(value)
    function = getattr(value, "_self_wrapper", value)
    if type(function) is not FunctionType:
        return f"a {type(value).__module__}.{type(value).__qualname__}"
    code = function.__code__
    return f"{function.__globals__.get('__name__')} ({code.co_filename}:{code.co_firstlineno})"


def _called(owner: ModuleType | type, module: str) -> str:
    return f"class {owner.__qualname__}" if isinstance(owner, type) else f"module {module}"


def _set(owner: ModuleType | type, name: str, value: Any) -> None:
    if isinstance(owner, type):
        type.__setattr__(owner, name, value)
    else:
        owner.__dict__[name] = value


def _dressed(function: FunctionType, found: Found, original: FunctionType | None, module: str) -> FunctionType:
    """A copy of a function that goes by the name of what it replaces, where it replaces it."""
    dressed = FunctionType(
        function.__code__, function.__globals__, found.name, function.__defaults__, function.__closure__
    )
    dressed.__kwdefaults__ = function.__kwdefaults__
    dressed.__dict__.update(function.__dict__)
    dressed.__dict__.pop("__wrapped__", None)
    owner = found.owner
    dressed.__module__ = owner.__module__ if isinstance(owner, type) else module
    dressed.__qualname__ = f"{owner.__qualname__}.{found.name}" if isinstance(owner, type) else found.name
    if original is not None:
        dressed.__doc__ = original.__doc__
        dressed.__annotations__ = {**function.__annotations__, **original.__annotations__}
    return dressed


def _bound_like(original: Any, replacement: Callable[..., Any]) -> Any:
    """The replacement as the same kind of attribute as the original."""
    if isinstance(original, (staticmethod, classmethod)):
        return type(original)(replacement)
    if isinstance(original, property):
        return property(replacement, original.fset, original.fdel, original.__doc__)
    return replacement


def _function_of(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def _keep_original(site: Site, key: str, found: Found, value: Any) -> None:
    names = getattr(_function_of(value), "__globals__", None)
    if names is None:
        raise TargetError(f"{site.target}: original_as= needs a replacement written in Python")
    site.keeps_original_in, site.keeps_original_as = names, key
    names[key] = _function_of(found.value)


def _forget_original(site: Site) -> None:
    if site.keeps_original_in is not None:
        site.keeps_original_in.pop(site.keeps_original_as, None)


def _describe_holder(referrer: object, original: Any, site: Site) -> str | None:
    """One holder in words; None for what holds the original because of us or as a part of it."""
    if referrer is site.before or referrer is _function_of(site.after):
        return None
    # Not isinstance: a proxy of somebody else's passes for what it wraps.
    kind = type(referrer)
    if kind is MethodType:
        return f"a bound method of an existing {type(cast(MethodType, referrer).__self__).__qualname__}"
    if kind is CellType:
        return "a closure"
    if kind is dict:
        names = cast(dict[Any, Any], referrer)
        keys = [key for key, value in list(names.items()) if value is original]
        if names is site.keeps_original_in:
            keys = [key for key in keys if key != site.keeps_original_as]
        if not keys:
            return None
        return "a decorated function" if keys[0] == "__wrapped__" else f"a dictionary or an object, under {keys[0]!r}"
    if kind in (list, tuple, set, frozenset):
        return f"a {kind.__name__}"
    return f"an existing {kind.__qualname__}"
