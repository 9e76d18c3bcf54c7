"""Fingerprints: what changes them and what does not, that live code and source text agree, on every Python alike."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import run_python

from ascend_patches.upstream import fingerprints

SAMPLE = '''\
"""A module of many ways to write a function."""
import functools
import typing
from typing import overload

def plain(a, b=1, *rest, c, d: int = 2, **more) -> "int":
    """A docstring."""
    return a + b * c - d  # a comment

def positional(a, /, b, *, c=None):
    return a if b else c

@functools.lru_cache(
    maxsize=None,
)
def decorated(a):
    return [x for x in range(a) if x % 2 == 0 and not x > 10]

async def asynchronous(source):
    async with source as opened:
        async for item in opened:
            yield await item

def generator(n):
    received = yield from (i ** 2 for i in range(n))
    return received

def formatted(x, width=8):
    return f"{x!r:>{width}} {x:.3f} {{}} {x['key']} {x + 1:{'<' + str(width)}}" f'{x=}' "tail" "\\N{BULLET}"

def matching(command):
    match command:
        case {"op": "add", **rest} if rest:
            return rest
        case [first, *others] | (first, others):
            return first, others
        case str(text) | bytes(text):
            return text
        case None | True | -1 | 1.5:
            return ...
        case _:
            return 0xFF, 1_000, 1e3, 2j, -0.0, b"\\x00", r"\\d", "\\ud800"

def starred(*args, **kwargs):
    first, *rest = [*args, *kwargs.values()]
    if (n := len(rest)) > 1:
        print(first, *rest, sep="", **{**kwargs, "end": ""})
    return {**kwargs, "n": n}, {*args}, rest[1:-1:2], rest[..., None]

def flow(x):
    global counter
    counter = x
    for i in range(3):
        while x:
            try:
                x -= 1
                assert x, "no x"
            except (ValueError, TypeError) as error:
                raise RuntimeError("x") from error
            else:
                continue
            finally:
                del i
        else:
            break
    with open("a") as one, open("b"):
        pass
    return lambda y=1, *z: (y, z)

def text_at_the_left():
    return """
def not_code():
    pass
""" + \\
"joined"

def tabbed():
\tif True:
\t\treturn 1
\treturn 2

class Outer:
    """A class."""
    limit: int = 3

    def method(self, x: "list[int]" = ()) -> None:
        """Documented."""
        self.__private = super().__init__
        return x @ self.limit

    @staticmethod
    def static(x): return x

    @classmethod
    async def of_class(cls, x):
        return await x

    @property
    def size(self):
        return self._size

    @size.setter
    def size(self, value):
        self._size = value

    @overload
    def many(self, x: int) -> int: ...
    @typing.overload
    def many(self, x: str) -> str: ...
    def many(self, x):
        return x

    class Inner:
        def deep(self):
            class Local:
                limit = 5
                def hidden(self):
                    return __class__
            return Local, self.__secret

    if True:
        def conditional(self):
            return 1
'''

# The same on every Python, and to stay the same: the lock is made of these.
GOLDEN: dict[str, str] = {
    "plain": "97d5cc2526a29cb2",
    "positional": "9ccc73adacfa8514",
    "decorated": "8993a5b42e26e32e",
    "asynchronous": "7b914da0b967935d",
    "generator": "8e74640a6667696e",
    "formatted": "eace7ea08c3ebb1a",
    "matching": "ae6545c080e5eca5",
    "starred": "aa8dbc16a8329f10",
    "flow": "7a97d6fc7cf1aa43",
    "text_at_the_left": "284bfd2e0c805c0f",
    "tabbed": "9fa038aedc26b595",
    "Outer.method": "89ddf802d2cab7f7",
    "Outer.static": "623eb2da0c8b32a4",
    "Outer.of_class": "81796f0f4a126a8d",
    "Outer.size": "84f6c90126576785",
    "Outer.many": "008ae657cf742d08",
    "Outer.Inner.deep": "2bac6777df8fdbc1",
    "Outer.conditional": "6a5e04341d7c6b39",
}

FUNCTIONS = [*GOLDEN]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Writes a module and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_import(source: str | bytes, name: str = "fingerprinted") -> ModuleType:
        content = source if isinstance(source, bytes) else source.encode()
        (tmp_path / f"{name}.py").write_bytes(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write_and_import


def at(module: ModuleType, path: str) -> Any:
    """What stands at a path, descriptors not called."""
    found: Any = module
    for name in path.split("."):
        found = vars(found)[name]
    return found


def of(code: str) -> str:
    found = fingerprints.of_source(textwrap.dedent(code), "f")
    assert found is not None
    return found


@pytest.mark.parametrize("path", FUNCTIONS)
def test_it_is_the_same_on_every_python(path: str) -> None:
    assert fingerprints.of_source(SAMPLE, path) == GOLDEN[path]


@pytest.mark.parametrize("path", FUNCTIONS)
def test_live_code_and_source_text_agree(load: Callable[..., ModuleType], path: str) -> None:
    assert fingerprints.of_function(at(load(SAMPLE), path)) == GOLDEN[path]


@pytest.mark.parametrize(
    "written",
    [
        SAMPLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + SAMPLE.encode(),
        b"# -*- coding: latin-1 -*-\n# \xe9\n" + SAMPLE.encode(),
        b"from __future__ import annotations\n" + SAMPLE.encode(),
        SAMPLE.rstrip("\n").encode(),
    ],
    ids=["crlf", "bom", "latin-1", "annotations", "no newline at the end"],
)
def test_live_code_agrees_however_its_file_is_written(load: Callable[..., ModuleType], written: bytes) -> None:
    module = load(written)
    assert {path: fingerprints.of_function(at(module, path)) for path in FUNCTIONS} == GOLDEN


SAME = """
@wraps(g)
def f(a, b: int = 1):
    x = a + b
    return [x, 'y']
"""


@pytest.mark.parametrize(
    "code",
    [
        '@wraps(g)\ndef f(a, b: int = 1):\n    "A docstring."\n    x = a + b\n    return [x, "y"]',
        "# before\n@wraps( g )  # beside\ndef f(a,b:int=1):\n\n\n      x = (a+b)\n      # last\n      return [x,'y',]",
        "@wraps(g)\ndef f(\n    a,\n    b: int = 1,\n):\n    x = a \\\n  + b\n    return [\n x,\nu'y',\n    ]",
        "@wraps(g)\ndef f(a, b: int = 0x1): x = a + b; return [x, '''y''']",
    ],
)
def test_formatting_comments_and_docstrings_do_not_change_it(code: str) -> None:
    assert of(code) == of(SAME)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b: int = 1", "b: int = 2"),
        ("b: int = 1", "b: int = True"),
        ("b: int = 1", "b: int = 1.0"),
        ("b: int = 1", "b: int"),
        ("b: int", "b: float"),
        ("b: int = 1", "b=1"),
        ("b: int", "*, b: int"),
        ("(a, b", "(a, /, b"),
        ("(a, b", "(b, a"),
        ("1):", "1) -> list:"),
        ("@wraps(g)\n", ""),
        ("@wraps(g)", "@wraps(h)"),
        ("a + b", "a - b"),
        ("a + b", "b + a"),
        ("'y'", "b'y'"),
        ("'y'", "'z'"),
        ("[x, 'y']", "(x, 'y')"),
        ("[x, 'y']", "[x, 'y', None]"),
        ("return [", "yield ["),
        ("def f", "async def f"),
        ("    x =", "    global x\n    x ="),
        ("x = a + b", "x: int = a + b"),
        ("x = a + b", "x += a + b"),
        ("x = a + b", "x = a + b\n    pass"),
    ],
)
def test_every_change_of_meaning_changes_it(before: str, after: str) -> None:
    assert before in SAME
    assert of(SAME.replace(before, after)) != of(SAME)


def test_the_docstring_of_an_inner_definition_does_not_count_but_any_other_text_does() -> None:
    inner = "def f():\n    class A:\n        {}\n        def g(self):\n            {}\n            return 1"
    assert of(inner.format("'one'", "'two'")) == of(inner.format("'three'", "''"))
    assert of("def f():\n    x = 1\n    'text'") != of("def f():\n    x = 1\n    'other'")


_LINES = SAME.strip("\n").split("\n")


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(_LINES)),
            st.sampled_from(["", "# a comment", "        # far right", "\t", "    # -*- x -*-", "\x0c"]),
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from(["", " ", "   # beside", "\t#"]), min_size=len(_LINES), max_size=len(_LINES)),
    st.integers(2, 9),
)
def test_blank_lines_comments_and_indentation_never_change_it(
    inserted: list[tuple[int, str]], ends: list[str], indent: int
) -> None:
    lines = [line.replace("    ", " " * indent, 1) + end for line, end in zip(_LINES, ends, strict=True)]
    for place, line in sorted(inserted, reverse=True):
        lines.insert(place, line)
    assert of("\n".join(lines)) == of(SAME)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("def g(): pass", "f"),
        ("f = lambda: 0", "f"),
        ("f = 3", "f"),
        ("class f: pass", "f"),
        ("if x:\n    def f(): return 1\nelse:\n    def f(): return 2", "f"),
        ("try:\n    from a import f\nexcept ImportError:\n    def f(): return 1\ndef f(): return 1", "f"),
        ("class A:\n    def f(self): pass\nclass A:\n    def f(self): pass", "A.f"),
        ("class A: pass\nclass B(A):\n    def f(self): pass", "A.f"),
        ("class A:\n    @property\n    def f(self): return 1\n    @f.getter\n    def f(self): return 2", "A.f"),
        ("def outer():\n    def f(): pass", "f"),
    ],
)
def test_what_source_text_does_not_define_once_has_none(source: str, path: str) -> None:
    assert fingerprints.of_source(source, path) is None


def test_a_conditional_definition_is_found_wherever_the_block_is() -> None:
    for block in ("if x:", "for x in y:", "with x:", "while x:"):
        assert fingerprints.of_source(f"{block}\n    def f(): return 1", "f") == of("def f(): return 1")
    for source in (
        "try:\n    pass\nexcept E:\n    {}",
        "try:\n    pass\nfinally:\n    {}",
        "if x: pass\nelse:\n    {}",
    ):
        assert fingerprints.of_source(source.format("def f(): return 1"), "f") == of("def f(): return 1")


def test_of_several_definitions_the_live_one_is_known(load: Callable[..., ModuleType]) -> None:
    module = load("flag = False\nif flag:\n    def f(): return 1\nelse:\n    def f(): return 2\n")
    assert fingerprints.of_function(module.f) == of("def f(): return 2")


def test_a_closure_has_the_fingerprint_of_its_text(load: Callable[..., ModuleType]) -> None:
    module = load(
        "class C:\n"
        "    def make(self, a, b):\n"
        "        c = 3\n"
        "        def f(x):\n"
        "            nonlocal c\n"
        "            c += 1\n"
        "            return C, self, a + b + x + c\n"
        "        return f\n"
    )
    text = "def f(x):\n    nonlocal c\n    c += 1\n    return C, self, a + b + x + c"
    assert fingerprints.of_function(module.C().make(1, 2)) == of(text)


@pytest.mark.parametrize("count", [2, 14, 15, 16, 20, 32])
@pytest.mark.parametrize("header", ["import math, json", "math = json = object()", "import math\njson = object()"])
@pytest.mark.parametrize(
    "inner", ["{}", "class C:\n    {}", "def make(a):\n    {}\n    return f"], ids=["function", "method", "closure"]
)
def test_large_calls_of_what_the_module_imports_are_known(
    load: Callable[..., ModuleType], header: str, inner: str, count: int
) -> None:
    given = ", ".join(f"name_{index}=a" for index in range(count))
    definition = f"def f(a=None): return a and math.one({given}), a and json.two(1, {given})"
    if inner.startswith("def"):
        definition = definition.replace("(a=None)", "()")
    module = load(f"{header}\n{inner.format(definition)}\n")
    function = getattr(getattr(module, "C", module), "f", None) or module.make(0)
    assert fingerprints.of_function(function) == of(definition)


def test_a_large_call_that_changed_after_the_import_is_noticed(load: Callable[..., ModuleType], tmp_path: Path) -> None:
    given = ", ".join(f"name_{index}=a" for index in range(20))
    source = f"import math\ndef f(a): return math.one({given})\n"
    module = load(source)
    (tmp_path / "fingerprinted.py").write_text(source.replace("name_3=a", "name_3=1"), encoding="utf-8")
    assert fingerprints.of_function(module.f) is None


def test_a_function_below_decorators_that_say_what_they_wrap_is_known(load: Callable[..., ModuleType]) -> None:
    source = (
        "import functools\n"
        "def logged(g):\n"
        "    @functools.wraps(g)\n"
        "    def wrapper(*args):\n"
        "        return g(*args)\n"
        "    return wrapper\n"
        "@logged\n"
        "@functools.lru_cache\n"
        "def f(x):\n"
        "    return x\n"
    )
    assert fingerprints.of_function(load(source).f) == of("@logged\n@functools.lru_cache\ndef f(x): return x")


def test_a_decorator_that_says_nothing_has_a_fingerprint_of_its_own(load: Callable[..., ModuleType]) -> None:
    source = (
        "def hidden(g):\n    def wrapper(*a):\n        return g(*a)\n    return wrapper\n@hidden\ndef f(x): return x\n"
    )
    assert fingerprints.of_function(load(source).f) != fingerprints.of_source(source, "f")


NESTED = {
    "": "def f(x):\n    return SUM\n",
    "outer.": "def outer(y):\n    def f(x):\n        return y + SUM\n    return f\n",
}


@pytest.mark.parametrize("where", NESTED)
def test_what_is_nested_too_deeply_to_be_gone_through_has_none(load: Callable[..., ModuleType], where: str) -> None:
    source = NESTED[where].replace("SUM", " + ".join(["x"] * 2000))
    module = load(source)
    assert fingerprints.of_function(module.outer(1) if where else module.f) is None


class MakesUpAttributes:
    """As some lazy objects do, it has an answer to every name."""

    def __getattr__(self, name: str) -> MakesUpAttributes:
        return MakesUpAttributes()


@pytest.mark.parametrize("value", [len, int, functools.partial(len), lambda: 0, 3, None, MakesUpAttributes()])
def test_what_has_no_definition_in_a_file_has_none(value: object) -> None:
    assert fingerprints.of_function(value) is None


def test_made_up_functions_have_none(load: Callable[..., ModuleType]) -> None:
    module = load(
        "namespace = {'__name__': __name__, '__file__': __file__, '__loader__': __loader__}\n"
        "exec('def f(): return 1', namespace)\n"
        "exec(compile('\\n' * 4 + 'def f(): return 2', __file__, 'exec'), globals())\n"
        "\n"
        "def f(): return 3\n"
        "by_file = namespace['by_file'] = f\n"
        "exec(compile('\\n' * 4 + 'def f(): return 2', __file__, 'exec'), globals())\n"
    )
    assert fingerprints.of_function(module.namespace["f"]) is None
    assert fingerprints.of_function(module.f) is None
    assert fingerprints.of_function(module.by_file) == of("def f(): return 3")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return x + 1", "return x - 1"),
        ("return x + 1", "return x + 2"),
        ("return x + 1", "return x + 1.0"),
        ("return x + 1", "return y + 1"),
        ("return x + 1", "return x.real + 1"),
        ("if x < 3", "if x <= 3"),
        ("if x < 3", "if not x < 3"),
        ("if x < 3", "if x in (1, 2)"),
        ("def f(x)", "def g(x)"),
        ("def f(x)", "def f(x, y=1)"),
        ("def f(x)", "def f(*x)"),
        ("def f(x)", "async def f(x)"),
        ("def f(x)", "\n\n\n\n\ndef f(x)"),
        ("def f(x)", "class f"),
        ("def f(x):", "def f(x:"),
        ("[y * 2 for y in x]", "[y * 3 for y in x]"),
        ("[y * 2 for y in x]", "[y / 2 for y in x]"),
        ("[y * 2 for y in x]", "{y * 2 for y in x}"),
    ],
)
def test_a_file_that_changed_after_its_import_has_no_say(
    load: Callable[..., ModuleType], before: str, after: str
) -> None:
    source = "\n\ndef f(x):\n    if x < 3:\n        return x + 1\n    return [y * 2 for y in x]\n# end\n"
    module = load(source)
    known = fingerprints.of_function(module.f)
    assert known == fingerprints.of_source(source, "f")
    assert before in source
    Path(str(module.__file__)).write_text(source.replace(before, after))
    assert fingerprints.of_function(module.f) is None


def test_a_file_that_went_away_after_its_import_has_no_say(load: Callable[..., ModuleType]) -> None:
    module = load("def f(): return 1\n")
    os.remove(str(module.__file__))
    assert fingerprints.of_function(module.f) is None


def test_code_in_an_archive_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("archived/__init__.py", "")
        archive.writestr("archived/sample.py", SAMPLE)
    monkeypatch.syspath_prepend(str(tmp_path / "all.zip"))
    module = importlib.import_module("archived.sample")
    assert {path: fingerprints.of_function(at(module, path)) for path in FUNCTIONS} == GOLDEN


def test_code_that_is_run_as_the_main_module_is_known(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "def f(): return 1\nfrom ascend_patches.upstream import fingerprints\nimport json\n"
        "print(json.dumps([fingerprints.of_function(f)]))\n"
    )
    assert run_python([program]).json == [of("def f(): return 1")]


def test_code_run_with_optimisation_is_known(tmp_path: Path) -> None:
    (tmp_path / "optimised.py").write_text('def f(x):\n    "Documented."\n    assert x\n    return __debug__\n')
    code = "import json, optimised\nfrom ascend_patches.upstream import fingerprints\n"
    code += "print(json.dumps([fingerprints.of_function(optimised.f)]))"
    expected = of("def f(x):\n    assert x\n    return __debug__")
    for flag in ("-O", "-OO"):
        assert run_python([flag, "-c", code], path=[tmp_path]).json == [expected]


def test_reading_upstreams_code_gives_no_warnings() -> None:
    assert fingerprints.of_source("def f():\n    return '\\d' is 3", "f") is not None


def test_every_method_of_a_large_module_agrees_with_its_source() -> None:
    module = importlib.import_module("argparse")
    tree = fingerprints.parse(fingerprints.read_source(str(module.__file__)))
    written = {
        f"{node.name}.{inner.name}": fingerprints.of_node(inner)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, ast.FunctionDef)
    }
    assert len(written) > 100
    assert {path: fingerprints.of_function(at(module, path)) for path in written} == written


def test_the_text_of_a_function_is_what_was_written(load: Callable[..., ModuleType]) -> None:
    module = load(SAMPLE)
    text = fingerprints.text_of_function(at(module, "Outer.static"))
    assert text is not None
    assert text.rstrip() == "    @staticmethod\n    def static(x): return x"


def test_a_module_is_found_on_disk_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("on_disk/__init__.py", "on_disk/inner/__init__.py", "on_disk/inner/deep.py", "single_on_disk.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, file in {
        "on_disk": "on_disk/__init__.py",
        "on_disk.inner": "on_disk/inner/__init__.py",
        "on_disk.inner.deep": "on_disk/inner/deep.py",
        "single_on_disk": "single_on_disk.py",
    }.items():
        assert fingerprints.source_file(module) == str(tmp_path / file)
    assert fingerprints.source_file("on_disk.missing") is None
    assert fingerprints.source_file("not_on_disk") is None
