"""Carried code is upstream's code: in its namespace, of its class, found by tracebacks, and gone again on undo."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.carried import Kind as CarriedKind
from ascend_patches.errors import DeclarationError, TargetError
from ascend_patches.replacing.site import Site
from ascend_patches.replacing.transaction import put_in_place, take_out

RELEASE = """
    LIMIT = 3

    class Base:
        def size(self):
            return 1

    class Layer(Base):
        STEP = 5
        __hidden = 7

        def size(self):
            return 0

        @property
        def width(self):
            return 0

        @staticmethod
        def twice(x):
            return x

        @classmethod
        def name(cls):
            return ""

        class Inner:
            def deep(self):
                return 0

    def helper(x=LIMIT):
        return x
"""
CARRIED = '''
    from __future__ import annotations

    import math
    ADDED = 11

    class Layer:
        def size(self, extra: Missing = LIMIT):
            return super().size() + self.__hidden + ADDED + extra

        @property
        def width(self):
            return __class__.STEP

        @staticmethod
        def twice(x):
            return 2 * x

        @classmethod
        def name(cls):
            return cls.__name__

        def fresh(self, step=STEP):
            """Text
          with its own indentation."""
            raise ValueError(step)

        class Inner:
            def deep(self):
                return Layer.STEP

    def helper(x=LIMIT):
        return math.floor(x + 0.5)
'''


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    made = ModuleType("carried_upstream")
    exec(dedent(RELEASE), made.__dict__)
    sys.modules["carried_upstream"] = made
    (tmp_path / "carried.py").write_text(dedent(CARRIED), encoding="utf-8")
    yield made
    del sys.modules["carried_upstream"]


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "carried.py")


def put(file: str, path: str, kind: CarriedKind = "function", **more: Any) -> Site:
    fingerprints = ("0" * 16,) if kind == "function" else ()
    rewrite = Carried(f"carried_upstream:{path}", file, kind, fingerprints, **more)
    return put_in_place([rewrite], lambda *about: None)[0]


def test_super_mangling_globals_and_defaults_are_upstreams(module: Any, file: str) -> None:
    put(file, "ADDED", "added")
    put(file, "Layer.size")
    assert module.Layer().size() == 1 + 7 + 11 + 3
    assert module.Layer.size.__qualname__ == "Layer.size"
    assert module.Layer.size.__module__ == "carried_upstream"
    assert module.Layer.size.__globals__ is module.__dict__


def test_properties_static_and_class_methods_stay_what_they_are(module: Any, file: str) -> None:
    for name in ("width", "twice", "name"):
        put(file, f"Layer.{name}")
    layer = module.Layer()
    assert (layer.width, layer.twice(4), module.Layer.twice(4), layer.name()) == (5, 8, 8, "Layer")


def test_a_class_in_a_class_is_reached(module: Any, file: str) -> None:
    put(file, "Layer.Inner.deep")
    assert module.Layer.Inner().deep() == 5
    assert module.Layer.Inner.deep.__qualname__ == "Layer.Inner.deep"


def test_an_import_is_added_beside_the_code_that_needs_it(module: Any, file: str) -> None:
    put(file, "math", "added")
    put(file, "helper")
    assert module.helper(2.7) == 3


def test_what_is_added_is_taken_away_again(module: Any, file: str) -> None:
    before = dict(module.__dict__), dict(module.Layer.__dict__)
    sites = [put(file, name, "added") for name in ("ADDED", "math", "Layer.fresh")] + [put(file, "helper")]
    take_out(sites)
    assert (dict(module.__dict__), dict(module.Layer.__dict__)) == before


def test_others_that_hold_an_added_module_keep_it(module: Any, file: str) -> None:
    import math

    site = put(file, "math", "added")
    take_out([site])
    assert sys.modules["math"] is math
    assert inspect.ismodule(math)


def test_what_is_there_already_is_not_added(module: Any, file: str) -> None:
    module.ADDED = 1
    with pytest.raises(TargetError, match="there already"):
        put(file, "ADDED", "added")


def test_tracebacks_and_getsource_show_the_carried_file(module: Any, file: str) -> None:
    put(file, "Layer.fresh", "added")
    with pytest.raises(ValueError, match="5") as raised:
        module.Layer().fresh()
    frame = traceback.extract_tb(raised.tb)[-1]
    assert (frame.filename, frame.line) == (file, "raise ValueError(step)")
    assert inspect.getsource(module.Layer.fresh).lstrip().startswith("def fresh(self, step=STEP):")


def test_a_value_is_replaced_where_it_is_the_releases_own(module: Any, file: str, tmp_path: Path) -> None:
    (tmp_path / "value.py").write_text("LIMIT = 9\n", encoding="utf-8")
    put(str(tmp_path / "value.py"), "LIMIT", "value", was="LIMIT = 3")
    assert module.LIMIT == 9


def test_another_value_is_left_alone(module: Any, tmp_path: Path) -> None:
    (tmp_path / "value.py").write_text("LIMIT = 9\n", encoding="utf-8")
    module.LIMIT = 4
    with pytest.raises(TargetError, match="is 4"):
        put(str(tmp_path / "value.py"), "LIMIT", "value", was="LIMIT = 3")
    assert module.LIMIT == 4


def test_an_alias_is_set_to_what_the_home_has(module: Any, file: str) -> None:
    site = put(file, "Layer.size", "alias", home="carried_upstream", value="helper")
    assert module.Layer.size is module.helper
    take_out([site])
    assert module.Layer().size() == 0


def test_a_method_that_is_only_inherited_is_not_replaced(module: Any, file: str) -> None:
    del module.Layer.size
    with pytest.raises(TargetError, match="inherits"):
        put(file, "Layer.size")


def test_a_carried_function_needs_the_fingerprints_of_what_it_replaces() -> None:
    with pytest.raises(DeclarationError):
        Carried("a:b", "file.py")
