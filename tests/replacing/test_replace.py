"""Targets: what can be replaced, how it looks afterwards, what is put back, and what does not fit."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

import pytest

from ascend_patches import Rewrite
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing.find import ABSENT, Found, find, foreign_wrapper
from ascend_patches.replacing.holders import out_of_reach
from ascend_patches.replacing.rebind import rebind
from ascend_patches.replacing.replace import prepare, site_of
from ascend_patches.replacing.sign import signature_difference
from ascend_patches.replacing.site import Site
from ascend_patches.replacing.transaction import install as install_all
from ascend_patches.replacing.transaction import take_out

SOURCE = """
import functools

CONSTANT = 1

def function(a, b=2, *, c=3):
    "Upstream's."
    return ("upstream", a, b, c)

async def coroutine():
    pass

def generator():
    yield 1

class Base:
    def inherited(self):
        return "base"

class Model(Base):
    field = 1

    def method(self, x: int) -> str:
        "A method."
        return ("upstream", x)

    @staticmethod
    def static(x):
        return ("upstream", x)

    @classmethod
    def from_class(cls, x):
        return ("upstream", cls.__name__, x)

    @property
    def width(self):
        "How wide."
        return "upstream"

    @width.setter
    def width(self, value):
        self.set_to = value

    @functools.cached_property
    def cached(self):
        return "upstream"

    class Inner:
        def deep(self):
            return "upstream"
"""

_numbers = itertools.count()


def install(rewrite: Rewrite, found: Found, value: Any) -> Site:
    """Put one prepared value in place."""
    return install_all([site_of(rewrite, found, value)])[0]


def undo(site: Site) -> None:
    take_out([site])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A freshly imported stand-in module with one target of every kind."""
    name = f"stand_in_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


@pytest.fixture
def replace(module: ModuleType) -> Callable[..., Site]:
    """Replace ``path`` of the module, as activation does."""

    def replace(path: str, replacement: Any, **declared: Any) -> Site:
        rewrite = Rewrite(f"{module.__name__}:{path}", replacement, **declared)
        found = find(rewrite.target, module)
        return install(rewrite, found, prepare(rewrite, found))

    return replace


Replace = Callable[..., Site]


def ours(*args: Any) -> Any:
    raise AssertionError("only its declaration matters")


# Every kind of target, there and back


def function(a, b=2, *, c=3):  # type: ignore[no-untyped-def]
    return ("ours", a, b, c)


def method(self, x):  # type: ignore[no-untyped-def]
    return ("ours", x)


def static(x):  # type: ignore[no-untyped-def]
    return ("ours", x)


def from_class(cls, x):  # type: ignore[no-untyped-def]
    return ("ours", cls.__name__, x)


def of_self(self):  # type: ignore[no-untyped-def]
    return "ours"


KINDS = {
    "function": (function, lambda m: m.function(1), ("upstream", 1, 2, 3), ("ours", 1, 2, 3)),
    "Model.method": (method, lambda m: m.Model().method(1), ("upstream", 1), ("ours", 1)),
    "Model.static": (static, lambda m: (m.Model.static(1), m.Model().static(1))[1], ("upstream", 1), ("ours", 1)),
    "Model.from_class": (
        from_class,
        lambda m: (m.Model.from_class(1), m.Model().from_class(1))[1],
        ("upstream", "Model", 1),
        ("ours", "Model", 1),
    ),
    "Model.width": (of_self, lambda m: m.Model().width, "upstream", "ours"),
    "Model.inherited": (of_self, lambda m: m.Model().inherited(), "base", "ours"),
    "Model.Inner.deep": (of_self, lambda m: m.Model.Inner().deep(), "upstream", "ours"),
}


@pytest.mark.parametrize("path", KINDS)
def test_a_target_of_each_kind_is_replaced_and_put_back(path: str, module: ModuleType, replace: Replace) -> None:
    replacement, call, before, after = KINDS[path]
    assert call(module) == before
    site = replace(path, replacement)
    assert call(module) == after
    assert site.in_place()
    undo(site)
    assert call(module) == before
    assert not site.in_place()


def test_an_inherited_attribute_is_set_on_the_class_named_and_taken_off_it_again(
    module: ModuleType, replace: Replace
) -> None:
    site = replace("Model.inherited", of_self)
    assert site.before is ABSENT
    assert module.Base().inherited() == "base"
    undo(site)
    assert "inherited" not in vars(module.Model)


def test_a_property_keeps_its_setter_and_its_doc(module: ModuleType, replace: Replace) -> None:
    replace("Model.width", of_self)
    model = module.Model()
    model.width = 5
    assert (model.set_to, module.Model.width.__doc__) == (5, "How wide.")


# What stands there afterwards


def test_a_replacement_is_a_plain_function_with_the_code_object_of_the_one_declared(
    module: ModuleType, replace: Replace
) -> None:
    replace("function", function)
    patched = module.function
    assert type(patched) is FunctionType
    assert patched.__code__ is function.__code__
    assert patched.__globals__ is function.__globals__
    assert patched.__closure__ is None
    assert not hasattr(patched, "__wrapped__")


def test_a_replacement_with_a_wrapped_attribute_loses_it(module: ModuleType, replace: Replace) -> None:
    @wraps(module.function)
    def wrapped(a, b=2, *, c=3):  # type: ignore[no-untyped-def]
        return "ours"

    # The declaration is read as what it wraps, so its parameters are those of upstream.
    replace("function", wrapped)
    assert not hasattr(module.function, "__wrapped__")


def test_a_replacement_goes_by_the_name_doc_signature_and_annotations_of_what_it_replaces(
    module: ModuleType, replace: Replace
) -> None:
    original = module.Model.method
    expected = (
        original.__name__,
        original.__qualname__,
        original.__module__,
        original.__doc__,
        original.__annotations__,
        inspect.signature(original),
    )
    replace("Model.method", method)
    patched = module.Model.method
    assert (
        patched.__name__,
        patched.__qualname__,
        patched.__module__,
        patched.__doc__,
        patched.__annotations__,
        inspect.signature(patched),
    ) == expected


def test_the_function_that_was_declared_is_not_itself_changed(module: ModuleType, replace: Replace) -> None:
    replace("Model.method", method)
    assert (method.__name__, method.__module__, method.__doc__) == ("method", __name__, None)


@pytest.mark.parametrize("path", ["function", "Model.method", "Model.static", "Model.Inner.deep"])
def test_replaced_functions_are_pickled_by_reference(path: str, module: ModuleType, replace: Replace) -> None:
    replace(path, KINDS[path][0])
    patched: Any = module
    for part in path.split("."):
        patched = getattr(patched, part)
    assert pickle.loads(pickle.dumps(patched)) is patched


def test_bound_and_class_methods_are_pickled_by_reference(module: ModuleType, replace: Replace) -> None:
    replace("Model.method", method)
    replace("Model.from_class", from_class)
    assert pickle.loads(pickle.dumps(module.Model().method))(1) == ("ours", 1)
    assert pickle.loads(pickle.dumps(module.Model.from_class))(1) == ("ours", "Model", 1)


def test_a_replacement_that_is_a_closure_keeps_its_cells(module: ModuleType, replace: Replace) -> None:
    factor = 7

    def scaled(self, x):  # type: ignore[no-untyped-def]
        return factor * x

    replace("Model.method", scaled)
    assert module.Model().method(2) == 14


# The original, for the replacement


def test_original_as_gives_the_replacement_the_original_also_for_who_holds_it_after_undo(
    module: ModuleType, replace: Replace
) -> None:
    namespace: dict[str, Any] = {"__name__": "ours"}
    exec("def method(self, x):\n    return ('around', upstream(self, x))", namespace)
    site = replace("Model.method", namespace["method"], original_as="upstream")
    held = module.Model().method
    assert held(1) == ("around", ("upstream", 1))
    undo(site)
    assert module.Model().method(1) == ("upstream", 1)
    assert held(1) == ("around", ("upstream", 1))


@pytest.mark.parametrize("path", ["Model.static", "Model.from_class", "Model.width"])
def test_original_as_gives_the_function_below_a_descriptor(path: str, module: ModuleType, replace: Replace) -> None:
    parameters = {"Model.static": "x", "Model.from_class": "cls, x", "Model.width": "self"}[path]
    namespace: dict[str, Any] = {"__name__": "ours"}
    exec(f"def replacement({parameters}):\n    return ('around', upstream({parameters}))", namespace)
    _, call, before, _ = KINDS[path]
    replace(path, namespace["replacement"], original_as="upstream")
    assert call(module) == ("around", before)


def test_original_as_is_not_rebound_to_the_replacement_itself(
    module: ModuleType, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = ModuleType("home_of_the_replacement")
    exec("def function(a, b=2, *, c=3):\n    return ('around', *upstream(a))", home.__dict__)
    monkeypatch.setitem(sys.modules, home.__name__, home)
    rebind([replace("function", home.function, original_as="upstream")])
    assert module.function(1) == ("around", "upstream", 1, 2, 3)


def test_original_as_for_a_replacement_without_globals_is_an_error_and_changes_nothing(
    module: ModuleType, replace: Replace
) -> None:
    original = module.function
    with pytest.raises(TargetError, match=r":function: original_as= needs a replacement written in Python"):
        replace("function", partial(print), original_as="upstream")
    assert module.function is original


# Names that others took


@pytest.fixture
def taker(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that took the function under two names, before it was replaced."""
    taker = ModuleType("taker")
    taker.function = taker.alias = module.function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "taker", taker)
    return taker


def test_names_taken_by_other_modules_are_pointed_to_the_replacement_and_back(
    module: ModuleType, taker: ModuleType, replace: Replace
) -> None:
    original = module.function
    site = replace("function", function)
    rebind([site])
    assert (taker.function, taker.alias) == (module.function, module.function)
    undo(site)
    rebind([site.reversed()])
    assert (taker.function, taker.alias) == (original, original)


def test_modules_that_cannot_have_taken_a_name_are_not_visited(module: ModuleType, taker: ModuleType) -> None:
    original = module.function
    rewrite = Rewrite(f"{module.__name__}:function", function)
    found = find(rewrite.target, module)
    install_all([site_of(rewrite, found, prepare(rewrite, found))], module.__name__, {"taker"})
    assert taker.function is original


def test_rebinding_does_not_trigger_lazy_modules(
    module: ModuleType, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggered: list[str] = []

    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            triggered.append(name)
            return super().__getattribute__(name)

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    class NoModule:
        __slots__ = ()

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    monkeypatch.setitem(sys.modules, "slotted", NoModule())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "blocked", None)  # type: ignore[arg-type]
    rebind([replace("function", function)])
    assert triggered == []


def test_a_name_that_holds_something_merely_equal_is_left_alone(
    module: ModuleType, taker: ModuleType, replace: Replace
) -> None:
    class EqualToAll:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    taker.other = EqualToAll()  # type: ignore[attr-defined]
    rebind([replace("function", function)])
    assert type(taker.other) is EqualToAll


# What cannot be reached


class Holder:
    """Takes an original in some way; keeps it alive for as long as a test looks."""


def _bound_method(module: ModuleType) -> tuple[str, Any]:
    return "Model.method", module.Model().method


def _closure(module: ModuleType) -> tuple[str, Any]:
    original = module.function
    return "function", lambda: original


def _decorated(module: ModuleType) -> tuple[str, Any]:
    @wraps(module.function)
    def decorated() -> None: ...

    return "function", decorated


def _attribute(module: ModuleType) -> tuple[str, Any]:
    holder = Holder()
    holder.call = module.function  # type: ignore[attr-defined]
    return "function", holder


HOLDERS: dict[str, Callable[[ModuleType], tuple[str, Any]]] = {
    "a bound method of an existing Model": _bound_method,
    "a closure": _closure,
    "a decorated function": _decorated,
    "a dictionary or an object, under 'key'": lambda module: ("function", {"key": module.function}),
    "a list": lambda module: ("function", [module.function]),
    "a tuple": lambda module: ("function", (module.function, [])),
    "a set": lambda module: ("function", {module.function}),
    "an existing partial": lambda module: ("function", partial(module.function, 1)),
}


@pytest.mark.parametrize("described", HOLDERS)
def test_who_still_holds_an_original_is_told(described: str, module: ModuleType, replace: Replace) -> None:
    path, holder = HOLDERS[described](module)
    site = replace(path, KINDS[path][0])
    assert out_of_reach([site]) == {site.target: [f"{site.target} is still held by {described}"]}
    del holder


def test_an_object_that_keeps_an_original_as_an_attribute_is_told(module: ModuleType, replace: Replace) -> None:
    _, holder = _attribute(module)
    ((told,),) = out_of_reach([replace("function", function)]).values()
    assert told.endswith(("an existing Holder", "a dictionary or an object, under 'call'"))
    del holder


def test_several_holders_of_a_kind_are_counted(module: ModuleType, replace: Replace) -> None:
    holders = [module.Model().method for _ in range(3)]
    site = replace("Model.method", method)
    ((told,),) = out_of_reach([site]).values()
    assert told == f"{site.target} is still held by a bound method of an existing Model (3 times)"
    del holders


def test_holders_are_told_by_target(module: ModuleType, replace: Replace) -> None:
    holders = [module.Model().method, [module.function]]
    sites = [replace("Model.method", method), replace("function", function)]
    told = out_of_reach(sites)
    assert {target: len(each) for target, each in told.items()} == {site.target: 1 for site in sites}
    del holders


def test_nobody_is_told_of_when_nobody_holds_the_original(module: ModuleType, replace: Replace) -> None:
    sites = [replace(path, kind[0]) for path, kind in KINDS.items()]
    assert out_of_reach(sites) == {}
    for site in sites:
        undo(site)
    assert out_of_reach([site.reversed() for site in sites]) == {}


def test_the_replacement_itself_does_not_count_as_a_holder(module: ModuleType, replace: Replace) -> None:
    namespace: dict[str, Any] = {"__name__": "ours"}
    exec("def method(self, x):\n    return upstream(self, x)", namespace)
    kept = replace("Model.method", namespace["method"], original_as="upstream")
    rewrite = Rewrite(f"{module.__name__}:function", around=ours)
    found = find(rewrite.target, module)
    advised = install(rewrite, found, prepare(rewrite, found))
    del found
    assert out_of_reach([kept, advised]) == {}


# Targets that are not there, or cannot be set


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "module NAME has no missing"),
        ("Missing.method", "module NAME has no class Missing"),
        ("Model.missing", "class Model has no missing"),
        ("Model.Inner.missing", "class Model.Inner has no missing"),
        ("CONSTANT.real", "module NAME has something that is not a class under the name CONSTANT"),
        ("CONSTANT", "is no function but int"),
        ("Model.field", "is no function but int"),
        ("Model.cached", "is no function but cached_property"),
    ],
)
def test_a_target_that_is_not_there_is_an_error_that_says_what_is_missing(
    path: str, message: str, module: ModuleType
) -> None:
    with pytest.raises(TargetError) as raised:
        find(Target(f"{module.__name__}:{path}"), module)
    assert str(raised.value) == f"{module.__name__}:{path}: {message.replace('NAME', module.__name__)}"


def test_finding_a_target_does_not_ask_a_modules_getattr(module: ModuleType) -> None:
    module.__getattr__ = ours  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="has no missing"):
        find(Target(f"{module.__name__}:missing"), module)


@pytest.mark.parametrize("target", ["builtins:int.bit_length", "array:array.append", "builtins:object.__repr__"])
def test_a_method_of_a_builtin_or_extension_class_is_a_clear_error_and_stays(target: str) -> None:
    module = importlib.import_module(target.partition(":")[0])
    rewrite = Rewrite(target, ours)
    found = find(rewrite.target, module)
    with pytest.raises(TargetError, match=r"cannot be replaced: .*immutable type"):
        install(rewrite, found, prepare(rewrite, found))
    assert find(rewrite.target, module).value is found.value


def test_a_value_that_does_not_stay_put_is_an_error(module: ModuleType) -> None:
    class Forgetful(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            pass

    owner: Any = type("Place", (), {"__dict__": Forgetful()})()
    rewrite = Rewrite("place:function", function)
    with pytest.raises(TargetError, match="place:function: was set, but reads back as something else"):
        install(rewrite, find(rewrite.target, module)._replace(owner=owner), function)


def test_a_replacement_that_cannot_be_called_is_an_error(module: ModuleType, replace: Replace) -> None:
    with pytest.raises(TargetError, match=r":function: its replacement is no function but int"):
        replace("function", f"{module.__name__}:CONSTANT")


def test_who_owns_a_site_now_is_named_with_file_and_line(module: ModuleType, replace: Replace) -> None:
    site = replace("function", function)
    module.function = ours  # type: ignore[attr-defined]
    assert site.owner_now() == f"{__name__} ({__file__}:{ours.__code__.co_firstlineno})"
    module.function = len  # type: ignore[attr-defined]
    assert site.owner_now() == "a builtins.builtin_function_or_method"


def test_who_has_wrapped_a_target_is_told(module: ModuleType) -> None:
    @wraps(module.function)
    def theirs() -> None: ...

    by = f"{__name__} ({__file__}:{cast(FunctionType, theirs).__code__.co_firstlineno})"
    assert foreign_wrapper(theirs) == by
    assert foreign_wrapper(module.function) == ""


# Signatures


def declared(parameters: str, prefix: str = "def") -> FunctionType:
    namespace: dict[str, Any] = {}
    exec(f"{prefix} f({parameters}): pass", namespace)
    return namespace["f"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("upstream", "replacement"),
    [
        ("a, b", "a, b"),
        ("a, b=1", "a, b=1, added=2"),
        ("a, *args, **kw", "a, *rest, **more"),
        ("a, *, x, y=1", "a, *, y=1, x"),
        ("a, *, x", "a, *, x, added=1"),
        ("a, /, b", "a, /, b"),
        ("a", "a, *added"),
        ("a", "a, **added"),
        ("a=()", "a=()"),
        ("a: int = 1", "a: 'anything' = 1"),
    ],
)
def test_a_replacement_that_takes_every_call_that_upstream_takes_fits(upstream: str, replacement: str) -> None:
    assert signature_difference(declared(upstream), declared(replacement)) == ""


@pytest.mark.parametrize(
    ("upstream", "replacement", "difference"),
    [
        ("a, b", "a", "upstream's positional parameter 'b' is missing: it has none"),
        ("a, b", "a, c", "upstream's positional parameter 'b' is missing: it has 'c' in its place"),
        ("a, b", "b, a", "upstream's positional parameter 'a' is missing: it has 'b' in its place"),
        ("a, *, b", "a, b", "its parameter 'b' is not upstream's and has no default"),
        ("a, *, b", "a, *, c", "upstream's keyword-only parameter 'b' is missing: it has 'c' in its place"),
        ("a, /", "a", "upstream's positional-only parameter 'a' is missing: it has none"),
        ("a", "a, /", "its parameter 'a' is not upstream's and has no default"),
        ("a=1", "a=1, /", "upstream's positional parameter 'a' is missing: it has none"),
        ("*args", "", "upstream's variadic positional parameter 'args' is missing: it has none"),
        ("**kw", "", "upstream's variadic keyword parameter 'kw' is missing: it has none"),
        ("a=1", "a=2", "the default of 'a' is 1 upstream and 2 in the replacement"),
        ("a=1", "a", "the default of 'a' is 1 upstream and absent in the replacement"),
        ("a", "a=1", "the default of 'a' is absent upstream and 1 in the replacement"),
        ("a=1", "a=True", "the default of 'a' is 1 upstream and True in the replacement"),
        ("*, a=1", "*, a=2", "the default of 'a' is 1 upstream and 2 in the replacement"),
        ("a", "a, b", "its parameter 'b' is not upstream's and has no default"),
        ("a", "a, *, b", "its parameter 'b' is not upstream's and has no default"),
        ("a, *args", "a, b=1, *args", "its parameter 'b' would take a value that upstream takes otherwise"),
        ("a, *, b", "a, c=1, *, b", "its parameter 'c' would take a value that upstream takes otherwise"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused_with_the_parameter(
    upstream: str, replacement: str, difference: str
) -> None:
    assert signature_difference(declared(upstream), declared(replacement)) == difference


@pytest.mark.parametrize("path", ["coroutine", "generator"])
def test_a_function_of_another_nature_does_not_fit(path: str, module: ModuleType, replace: Replace) -> None:
    with pytest.raises(TargetError, match="one of the two is a coroutine or a generator and the other is not"):
        replace(path, declared(""))


def test_defaults_that_cannot_be_compared_are_compared_by_how_they_print() -> None:
    class Array(list[int]):
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    def one(a: Any = Array([1])) -> None: ...  # noqa: B008
    def same(a: Any = Array([1])) -> None: ...  # noqa: B008
    def other(a: Any = Array([2])) -> None: ...  # noqa: B008

    assert signature_difference(one, same) == ""  # type: ignore[arg-type]
    assert "default of 'a'" in signature_difference(one, other)  # type: ignore[arg-type]


def test_a_misfit_is_refused_before_anything_is_set(module: ModuleType, replace: Replace) -> None:
    original = module.function
    with pytest.raises(TargetError) as raised:
        replace("function", declared("a"))
    assert str(raised.value) == (
        f"{module.__name__}:function: the replacement does not fit: "
        "upstream's positional parameter 'b' is missing: it has none"
    )
    assert module.function is original


def test_a_decorated_target_is_compared_by_what_it_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "decorated_stand_in.py").write_text(
        textwrap.dedent("""
        import functools

        def logged(function):
            @functools.wraps(function)
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        @logged
        def work(a, b):
            return a + b
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("decorated_stand_in")
    found = find(Target("decorated_stand_in:work"), module)
    rewrite = Rewrite("decorated_stand_in:work", declared("a, b"))
    site = install(rewrite, found, prepare(rewrite, found))
    assert module.work.__name__ == "work"
    assert foreign_wrapper(site.before) == ""
    with pytest.raises(TargetError, match="parameter 'b' is missing"):
        prepare(Rewrite("decorated_stand_in:work", declared("a")), found)
    del sys.modules["decorated_stand_in"]
