"""Advice: around= goes around every kind of target, and what it makes can be pickled as a function can."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import World

from ascend_patches import Rewrite
from ascend_patches.errors import DeclarationError, TargetError
from ascend_patches.replacing.find import find
from ascend_patches.replacing.replace import prepare, site_of
from ascend_patches.replacing.site import Site
from ascend_patches.replacing.transaction import install, take_out

SOURCE = """
def function(a, b=2):
    "Upstream's."
    return ["upstream", a, b]

def alias_of_another_name(a):
    return ["upstream", a]

public = alias_of_another_name

class Base:
    def inherited(self, x):
        return ["base", x]

class Model(Base):
    def method(self, x):
        return ["upstream", x]

    @staticmethod
    def static(x):
        return ["upstream", x]

    @classmethod
    def from_class(cls, x):
        return ["upstream", cls.__name__, x]

    @property
    def width(self):
        "How wide."
        return ["upstream"]

    @width.setter
    def width(self, value):
        self.set_to = value

class Narrow(Model):
    pass
"""

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    name = f"advised_stand_in_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


def advice(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = instance.__name__ if isinstance(instance, type) else type(instance).__name__
    return [name, *wrapped(*args, **kwargs)]


def go_around(module: ModuleType, path: str, advice: Any = advice) -> Site:
    rewrite = Rewrite(f"{module.__name__}:{path}", around=advice)
    found = find(rewrite.target, module)
    return install([site_of(rewrite, found, prepare(rewrite, found))])[0]


CALLS: dict[str, tuple[Callable[[ModuleType], Any], Any]] = {
    "function": (lambda m: m.function(1, b=3), ["NoneType", "upstream", 1, 3]),
    "Model.method": (lambda m: m.Model().method(1), ["Model", "upstream", 1]),
    "Model.static": (lambda m: m.Model.static(1), ["NoneType", "upstream", 1]),
    "Model.from_class": (lambda m: m.Narrow.from_class(1), ["Narrow", "upstream", "Narrow", 1]),
    "Model.width": (lambda m: m.Model().width, ["Model", "upstream"]),
    "Model.inherited": (lambda m: m.Narrow().inherited(1), ["Narrow", "base", 1]),
}


@pytest.mark.parametrize("path", CALLS)
def test_advice_is_given_the_original_the_instance_and_the_arguments_and_is_taken_off_again(
    path: str, module: ModuleType
) -> None:
    call, expected = CALLS[path]
    site = go_around(module, path)
    assert call(module) == expected
    take_out([site])
    assert call(module) == expected[1:]


def test_advice_around_an_unbound_method_gets_the_instance_that_is_passed(module: ModuleType) -> None:
    go_around(module, "Model.method")
    assert module.Model.method(module.Narrow(), 1) == ["Narrow", "upstream", 1]


def test_an_advised_target_keeps_its_name_doc_and_signature(module: ModuleType) -> None:
    original = module.function
    expected = (original.__name__, original.__qualname__, original.__doc__, inspect.signature(original))
    go_around(module, "function")
    advised = module.function
    assert (advised.__name__, advised.__qualname__, advised.__doc__, inspect.signature(advised)) == expected


def test_an_advised_property_keeps_its_setter_and_its_doc(module: ModuleType) -> None:
    go_around(module, "Model.width")
    model = module.Model()
    model.width = 5
    assert (model.set_to, module.Model.width.__doc__) == (5, "How wide.")


def test_an_advised_function_is_pickled_by_reference(module: ModuleType) -> None:
    go_around(module, "function")
    assert pickle.loads(pickle.dumps(module.function)) is module.function


PICKLED: dict[str, tuple[str, Callable[[ModuleType], Any], tuple[Any, ...], Any]] = {
    "a bound method": ("Model.method", lambda m: m.Narrow().method, (1,), ["Narrow", "upstream", 1]),
    "a class method": ("Model.from_class", lambda m: m.Model.from_class, (1,), ["Model", "upstream", "Model", 1]),
    "a class method of a subclass": (
        "Model.from_class",
        lambda m: m.Narrow.from_class,
        (1,),
        ["Narrow", "upstream", "Narrow", 1],
    ),
    "a class method of an instance": (
        "Model.from_class",
        lambda m: m.Narrow().from_class,
        (1,),
        ["Narrow", "upstream", "Narrow", 1],
    ),
    "a static method": ("Model.static", lambda m: m.Model.static, (1,), ["NoneType", "upstream", 1]),
    "a function of another name": ("public", lambda m: m.public, (1,), ["NoneType", "upstream", 1]),
}


@pytest.mark.parametrize("what", PICKLED)
def test_what_is_reached_through_an_advised_target_can_be_pickled(what: str, module: ModuleType) -> None:
    path, reach, arguments, expected = PICKLED[what]
    go_around(module, path)
    assert pickle.loads(pickle.dumps(reach(module)))(*arguments) == expected


def test_an_unbound_method_can_be_pickled(module: ModuleType) -> None:
    go_around(module, "Model.method")
    again = pickle.loads(pickle.dumps(module.Model.method))
    assert again(module.Model(), 1) == ["Model", "upstream", 1]


def test_an_advised_function_is_copied_as_a_function_is(module: ModuleType) -> None:
    go_around(module, "function")
    assert copy.copy(module.function) is module.function
    assert copy.deepcopy({"call": module.function})["call"] is module.function


def test_an_advised_method_is_copied_with_its_object_as_a_method_is(module: ModuleType) -> None:
    go_around(module, "Model.method")
    model = module.Model()
    model.call = model.method
    again = copy.deepcopy(model)
    assert again.call.__self__ is again
    assert again.call(1) == ["Model", "upstream", 1]
    assert copy.copy(model.method)(1) == ["Model", "upstream", 1]


def test_advised_targets_are_arguments_and_targets_of_spawned_processes(world: World) -> None:
    world.package("vllm", {"engine": SOURCE})
    world.patch(
        "advice",
        {"vllm.engine:function": "advice", "vllm.engine:Model.method": "advice"},
        "def advice(wrapped, instance, args, kwargs):\n    return ['advised', *wrapped(*args, **kwargs)]\n",
        around=True,
    )
    main = world.write(
        "main.py",
        """
        import json
        import multiprocessing
        import ascend_patches_start
        import vllm.engine

        def call(function, argument):
            return function(argument)

        if __name__ == '__main__':
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                print(json.dumps([
                    pool.apply(vllm.engine.function, (1,)),
                    pool.apply(call, (vllm.engine.Model().method, 2)),
                ]))
        """,
    )
    assert world.python([main]).json == [["advised", "upstream", 1, 2], ["advised", "upstream", 2]]


def test_advice_with_original_as_is_refused_at_its_declaration() -> None:
    with pytest.raises(DeclarationError, match=r"original_as= is not for it"):
        Rewrite("module:function", around=advice, original_as="upstream")


def test_advice_that_cannot_be_called_is_refused(module: ModuleType) -> None:
    with pytest.raises(TargetError, match="its replacement is no function but str"):
        go_around(module, "function", f"{module.__name__}:__name__")
