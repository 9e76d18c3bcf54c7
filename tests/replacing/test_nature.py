"""The nature of a target: what upstream's decorators made of a function is kept, or refused with the reason."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ascend_patches import Rewrite, Variant, always
from ascend_patches.errors import DeclarationError, TargetError
from ascend_patches.replacing.find import find
from ascend_patches.replacing.replace import prepare, site_of
from ascend_patches.replacing.transaction import install, take_out

SOURCE = """
import contextlib, functools

class Answer: ...

@contextlib.contextmanager
def context(x):
    yield ["upstream", x]

@functools.lru_cache(maxsize=7)
def cached(x):
    return ["upstream", x]

@functools.singledispatch
def dispatched(x):
    return "upstream"

def marking(function):
    function.mark = "upstream's"
    return function

@marking
def marked(x):
    return "upstream"

def counted(function):
    @functools.wraps(function)
    def counting(*args):
        return ["counted", *function(*args)]
    counting.inner = function
    return counting

@counted
@counted
def twice(x):
    return ["upstream", x]

partial = functools.partial(marked, 1)

class Callable:
    def __call__(self, x): ...
callable_object = Callable()

def hidden(function):
    @functools.wraps(function)
    def hiding(*args):
        return KEPT[0](*args)
    return hiding
KEPT = []

@hidden
def elsewhere(x): ...

class Base:
    def run(self):
        return ["base"]

class Model(Base):
    def run(self):
        return ["upstream"]

    @functools.lru_cache
    def cached(self):
        return "upstream"

    @classmethod
    @counted
    def made(cls):
        return ["upstream"]

def annotated(x: "Answer") -> "list[Answer]":
    return x
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    name = f"natures_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


Replace = Callable[..., Any]


@pytest.fixture
def replace(module: ModuleType) -> Replace:
    """Replace one target of the module; gives what undoes it."""

    def replace(path: str, replacement: Any, **declared: Any) -> Callable[[], None]:
        rewrite = Rewrite(f"{module.__name__}:{path}", replacement, **declared)
        found = find(rewrite.target, module)
        sites = install([site_of(rewrite, found, prepare(rewrite, found))])
        return lambda: take_out(sites)

    return replace


def ours(x: Any) -> list[Any]:
    return ["ours", x]


def generating(x: Any) -> Iterator[list[Any]]:
    yield ["ours", x]


@pytest.mark.parametrize("replacement", [generating, contextlib.contextmanager(generating)], ids=["bare", "decorated"])
def test_a_context_manager_stays_one(module: ModuleType, replace: Replace, replacement: Any) -> None:
    undo = replace("context", replacement)
    with module.context(1) as answer:
        assert answer == ["ours", 1]
    undo()
    with module.context(1) as answer:
        assert answer == ["upstream", 1]


def test_a_cached_function_stays_cached_by_the_same_rules(module: ModuleType, replace: Replace) -> None:
    replace("cached", ours)
    assert module.cached(1) is module.cached(1)
    assert (module.cached(1), module.cached.cache_parameters()["maxsize"]) == (["ours", 1], 7)
    module.cached.cache_clear()
    assert module.cached.cache_info().currsize == 0


def test_a_cached_method_stays_a_cached_method(module: ModuleType, replace: Replace) -> None:
    replace("Model.cached", lambda self: ["ours"])
    model = module.Model()
    assert model.cached() is model.cached()
    assert module.Model.cached.cache_info().hits == 1


def test_what_decorators_do_is_done_around_the_replacement_as_well(module: ModuleType, replace: Replace) -> None:
    replace("twice", ours)
    assert module.twice(1) == ["counted", "counted", "ours", 1]
    assert module.twice.inner is module.twice.__wrapped__


def test_decorated_class_methods_keep_both(module: ModuleType, replace: Replace) -> None:
    replace("Model.made", lambda cls: [cls.__name__])
    assert module.Model.made() == ["counted", "Model"]


def test_the_original_is_that_below_the_decorators(
    module: ModuleType, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "upstream_twice", None)
    replace("twice", calls_original, original_as="upstream_twice")
    assert module.twice(1) == ["counted", "counted", "around", "upstream", 1]


def calls_original(x: Any) -> list[Any]:
    return ["around", *globals()["upstream_twice"](x)]


def test_attributes_that_a_decorator_set_are_there(module: ModuleType, replace: Replace) -> None:
    replace("marked", ours)
    assert module.marked.mark == "upstream's"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("dispatched", "it is a singledispatch function"),
        ("partial", "it is no function but a functools.partial"),
        ("callable_object", "it is no function but a natures_"),
        ("elsewhere", "hiding, which keeps it where no replacement can be put"),
        ("Model", "it is no function but a builtins.type"),
    ],
)
def test_what_cannot_be_kept_is_refused(module: ModuleType, replace: Replace, path: str, reason: str) -> None:
    before = getattr(module, path)
    with pytest.raises(TargetError, match="cannot be replaced") as raised:
        replace(path, ours)
    assert reason in str(raised.value)
    assert getattr(module, path) is before


def super_in_vain(self: Any) -> Any:
    return super().run()  # type: ignore[misc]


class Written:
    def run(self) -> list[str]:
        return [*super().run(), "ours"]  # type: ignore[misc]


def test_super_outside_of_a_class_is_refused(module: ModuleType, replace: Replace) -> None:
    with pytest.raises(TargetError, match=r"calls super\(\) and is written outside of a class"):
        replace("Model.run", super_in_vain)


def test_super_of_a_method_is_that_of_the_targets_class(module: ModuleType, replace: Replace) -> None:
    replace("Model.run", Written.run)
    assert module.Model().run() == ["base", "ours"]


def test_type_hints_mean_what_they_mean_upstream(module: ModuleType, replace: Replace) -> None:
    replace("annotated", ours)
    assert typing.get_type_hints(module.annotated) == {
        "x": module.Answer,
        "return": types.GenericAlias(list, (module.Answer,)),
    }


def test_two_originals_of_one_name_are_refused_when_they_are_declared() -> None:
    rewrites = tuple(Rewrite(f"vllm:{name}", ours, original_as="original") for name in ("f", "g"))
    with pytest.raises(DeclarationError, match="both replacements would call the same original"):
        Variant("only", always, rewrites)
