"""sources: targets found in code that nobody imports, and found as Python finds them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support import World

from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.sources import Found, Roots

PACKAGE = {
    "": "from .base import Base as Root\nfrom . import base\n",
    "base": """
        class Far:
            def far(self): return 'far'

        class Base(Far):
            def inherited(self): return 'base'
            class Inner:
                def deep(self): return 'deep'
        """,
    "layer": """
        import pkg.base as other
        from pkg import Root, base
        from typing import Generic, TypeVar
        T = TypeVar('T')

        def function(): return 1

        class Layer(Root):
            @property
            def size(self): return 1
            @size.setter
            def size(self, value): pass
            def own(self): return 'own'

        class ByModule(base.Base, Generic[T]): pass
        class ByAlias(other.Base): pass
        class Twice:
            if T:
                def written(self): return 1
            else:
                def written(self): return 2
        """,
    "again": "from pkg.layer import Layer, function as renamed\n",
    "broken": "def (:\n",
    "circle": "from pkg.circle import lost\nclass A(B): pass\nclass B(A): pass\n",
}


@pytest.fixture
def code(world: World) -> Roots:
    world.package("pkg", PACKAGE)
    return Roots([world.folder])


@pytest.mark.parametrize(
    ("target", "module", "name"),
    [
        ("pkg.layer:function", "pkg.layer", "function"),
        ("pkg.layer:Layer.own", "pkg.layer", "own"),
        ("pkg.layer:Layer.size", "pkg.layer", "size"),
        ("pkg.layer:Layer.inherited", "pkg.base", "inherited"),
        ("pkg.layer:Layer.far", "pkg.base", "far"),
        ("pkg.layer:Layer.Inner.deep", "pkg.base", "deep"),
        ("pkg.layer:ByModule.inherited", "pkg.base", "inherited"),
        ("pkg.layer:ByAlias.inherited", "pkg.base", "inherited"),
        ("pkg.again:Layer.own", "pkg.layer", "own"),
        ("pkg.again:renamed", "pkg.layer", "function"),
    ],
)
def test_a_target_is_found_where_python_would_find_it(code: Roots, target: str, module: str, name: str) -> None:
    found = code.find(target)
    assert isinstance(found, Found), found
    assert (found.module, found.node.name) == (module, name)
    assert code.look(target) == ("code", fingerprints.of_node(found.node))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("pkg.gone:f", "pkg.gone:f: there is no module pkg.gone"),
        ("pkg.layer:Gone.f", "pkg.layer:Gone.f: module pkg.layer has no class Gone"),
        ("pkg.layer:Layer.gone", "pkg.layer:Layer.gone: class Layer has no function gone"),
        ("pkg.layer:Twice.written", "pkg.layer:Twice.written: class Twice has no function written"),
        ("pkg.broken:f", "pkg.broken:f: pkg.broken is there and cannot be read: invalid syntax, line 1"),
        ("pkg.circle:A.f", "pkg.circle:A.f: class A has no function f"),
        ("pkg.circle:lost", "pkg.circle:lost: module pkg.circle has no function lost"),
    ],
)
def test_what_cannot_be_found_is_said_in_words(code: Roots, target: str, why: str) -> None:
    assert code.find(target) == why
    assert code.look(target) == ("absent", why)


@pytest.mark.parametrize("terms", [2_000, 100_000])
def test_code_that_is_nested_too_deeply_is_no_code_that_anybody_knows(world: World, terms: int) -> None:
    world.package("pkg", {"deep": f"def f(x): return {' + '.join(['x'] * terms)}\n"})
    assert Roots([world.folder]).look("pkg.deep:f").kind in ("no source", "absent")


def test_a_wheel_gives_the_same_as_the_folder_it_was_made_from(code: Roots, world: World, tmp_path: Path) -> None:
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in (world.folder / "pkg").rglob("*.py"):
            archive.write(file, file.relative_to(world.folder).as_posix())
    for target in ("pkg.layer:Layer.inherited", "pkg.layer:function", "pkg.gone:f"):
        assert Roots([wheel]).look(target) == code.look(target)


def test_the_first_root_that_has_a_module_counts(code: Roots, world: World, tmp_path: Path) -> None:
    newer = World(tmp_path / "newer")
    newer.package("pkg", {"layer": "def function(): return 2\n"})
    assert Roots([newer.folder, world.folder]).look("pkg.layer:function") != code.look("pkg.layer:function")
    assert Roots([world.folder, newer.folder]).look("pkg.layer:function") == code.look("pkg.layer:function")


def test_what_is_neither_folder_nor_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.whl").write_text("no archive")
    with pytest.raises(AscendPatchesError, match="neither a folder nor a wheel"):
        Roots([tmp_path / "some.whl"])


def test_the_text_of_a_definition_begins_with_its_decorators(code: Roots) -> None:
    found = code.find("pkg.layer:Layer.size")
    assert isinstance(found, Found)
    assert found.text.lstrip().startswith("@property")


def test_live_code_and_its_source_have_one_fingerprint_also_where_it_is_inherited(world: World) -> None:
    world.package("pkg", PACKAGE)
    live = world.python(
        """
        import pkg.layer
        from ascend_patches.upstream import fingerprints
        layer = pkg.layer.Layer
        functions = layer.own, layer.inherited, layer.far, pkg.layer.function
        print(json.dumps([fingerprints.of_function(function) for function in functions]))
        """
    ).json
    names = ("Layer.own", "Layer.inherited", "Layer.far", "function")
    assert live == [Roots([world.folder]).look(f"pkg.layer:{name}").text for name in names]
