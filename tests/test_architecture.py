"""Who may import whom: the rooms of the package lie above each other, and every arrow points down.

The modules are parsed, never imported. Every way to name a module counts: an import at the top, one inside a function,
one for type checkers only, and a string such as ``"ascend_patches.patches.NAME.replacements:function"``. A declaration
names its own replacements and checks as strings, which are imported where they are used; these alone are free.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support import REPOSITORY

PACKAGE = REPOSITORY / "ascend_patches"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("basics", "errors", "_version"),
    ("upstream",),
    ("declaring",),
    ("settings", "replacing", "checks"),
    ("deciding", "shadow"),
    ("process", "npu"),
    ("reporting", "patches"),
    ("catalogue",),
    ("starting",),
    ("api",),
    ("carrying",),
    ("commands",),
)
"""The rooms from the ground up. A room is imported by those above it; rooms on one floor do not know each other."""

OUTSIDE = ("__init__", "__main__")
"""What lists the public names, and what starts the command: neither is part of a room."""

LONGEST_FUNCTION = 60
LONGEST_CLASS = 250

SAME_NAME = {
    "declaration": "each patch has one",
    "replacements": "each patch has one",
    "checks": "each patch has one, made with the package of that name",
    "options": "each patch that has some has one",
    "errors": "each distribution and tool has one",
    "measure": "each bench measures",
    "report": "what is printed or written of what was found out",
    "schema": "the form of something: of settings, of operators",
    "runner": "what runs cases, one after the other",
}
"""Module names that occur more than once, because they mean the same thing each time."""


class Arrow(NamedTuple):
    """One module names another."""

    origin: str
    target: str

    def __str__(self) -> str:
        return f"{self.origin} -> {self.target}"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    files = [file for file in PACKAGE.rglob("*.py") if "sitecustomize" not in file.parts]
    return {_dotted(file): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def _dotted(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def arrows() -> Iterator[Arrow]:
    for origin, tree in modules().items():
        for target in sorted(set(_named(origin, tree))):
            yield Arrow(origin, target)


def _named(origin: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module is not None and _is_ours(node.module):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() or alias.name.startswith("_") else node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = node.value.partition(":")[0]
            if module in modules() and not _is_own_business(origin, module):
                yield module


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in ("ascend_patches", "emulated_npu")


def _is_own_business(origin: str, named: str) -> bool:
    """Whether a string is what a declaration says of its own replacements and checks, or of what patches share."""
    folder, _, module = origin.rpartition(".")
    return module == "declaration" and named.startswith((f"{folder}.", "ascend_patches.npu."))


def room(module: str) -> str:
    """``ascend_patches.ROOM.module`` lies in ROOM; what lies at the root is a room by itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor(module: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert found, f"{module} is in no room of FLOORS"
    return found[0]


def within(arrow: Arrow) -> bool:
    return room(arrow.origin) == room(arrow.target) and arrow.origin.startswith("ascend_patches")


def of_the_package() -> list[Arrow]:
    return [
        arrow
        for arrow in arrows()
        if arrow.target.startswith("ascend_patches.") and not within(arrow) and room(arrow.origin) not in OUTSIDE
    ]


def refuse(found: list[Arrow]) -> None:
    assert sorted(map(str, found)) == []


CIRCLES: dict[str, str] = {
    "ascend_patches.patches.mla_multistream.graph_cache": "it names the files whose text it hashes, and imports none",
    "ascend_patches.patches.mla_multistream.replacements": "see graph_cache",
    "ascend_patches.shadow.patch_shadow": "it names the other for type checkers only",
    "ascend_patches.shadow.run": "see patch_shadow",
}
"""Modules that name each other, each with the reason."""


def test_rooms_import_only_what_lies_below_them() -> None:
    refuse([arrow for arrow in of_the_package() if floor(arrow.target) >= floor(arrow.origin)])


def test_modules_that_name_each_other_make_no_circle() -> None:
    below: dict[str, set[str]] = {name: set() for name in modules()}
    for arrow in arrows():
        if room(arrow.origin) not in OUTSIDE and arrow.target in below:
            below[arrow.origin].add(arrow.target)
    while leaves := [name for name, targets in below.items() if not targets & below.keys()]:
        for name in leaves:
            del below[name]
    assert sorted(name for name in below if _is_in_a_circle(name, below) and name not in CIRCLES) == []


def _is_in_a_circle(name: str, below: dict[str, set[str]]) -> bool:
    return name in _reached([*below[name]], {origin: sorted(targets) for origin, targets in below.items()})


def test_only_the_catalogue_and_what_starts_above_it_know_the_patches() -> None:
    above = {"npu": ("patches",), "patches": ("catalogue",)}
    refuse(
        [one for one in of_the_package() if room(one.origin) not in above.get(room(one.target), (room(one.origin),))]
    )


def test_only_checks_of_patches_verify_bench_and_prove_import_the_machinery_of_checks() -> None:
    users = re.compile(r"ascend_patches\.(patches\.\w+\.\w+|commands\.(verify|bench|prove)\w*)$")
    refuse([one for one in of_the_package() if room(one.target) == "checks" and not users.match(one.origin)])


def test_a_patch_in_a_serving_process_imports_nothing_of_its_checks() -> None:
    named: dict[str, list[str]] = {}
    for arrow in arrows():
        named.setdefault(arrow.origin, []).append(arrow.target)
    starts = [module for module in modules() if module.endswith((".declaration", ".replacements"))]
    reached = _reached(starts, named)
    assert [module for module in sorted(reached) if room(module) == "checks" or module.endswith("checks")] == []


def _reached(starts: list[str], named: dict[str, list[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = list(starts)
    while ahead:
        module = ahead.pop()
        if module not in reached:
            reached.add(module)
            ahead += named.get(module, ())
    return reached


def test_the_emulated_npu_knows_nothing_of_the_package() -> None:
    for file in (REPOSITORY / "emulated_npu").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = [one for one in _named("emulated_npu", tree) if one.startswith("ascend_patches")]
        assert named == [], file


def test_the_emulated_npu_is_used_through_its_public_names_by_checks_verify_and_prove_only() -> None:
    users = re.compile(r"ascend_patches\.(checks\..*|patches\.\w+\.(\w+_)?checks|commands\.(verify|prove)\w*)$")
    used = [one for one in arrows() if one.target.startswith("emulated_npu")]
    refuse([one for one in used if not users.match(one.origin) or one.target != "emulated_npu"])


def test_a_declaration_imports_only_the_language_and_its_own_options() -> None:
    allowed = re.compile(r"ascend_patches\.(declaring\.\w+|npu\.\w+_options)$")
    declarations = [one for one in arrows() if one.origin.endswith(".declaration")]
    own = [one for one in declarations if one.target.startswith(one.origin.rpartition(".")[0])]
    refuse([one for one in declarations if one not in own and not allowed.match(one.target)])


def test_no_patch_imports_another() -> None:
    def patch(module: str) -> str:
        return ".".join(module.split(".")[:3])

    inside = [
        one for one in arrows() if room(one.origin) == room(one.target) == "patches" and one.origin.count(".") > 1
    ]
    refuse([one for one in inside if patch(one.origin) != patch(one.target)])


def test_the_finder_imports_sys_and_os_and_nothing_else() -> None:
    imported = set()
    for node in ast.walk(modules()["ascend_patches.process.finder"]):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert imported - {"collections.abc", "typing"} <= {"os", "sys"}  # the two are for type checkers


def test_no_two_modules_of_a_name_mean_different_things() -> None:
    places: dict[str, list[str]] = {}
    for top in ("ascend_patches", "emulated_npu", "tools"):
        for file in (REPOSITORY / top).rglob("*.py"):
            if file.stem not in ("__init__", "__main__", "_version", "sitecustomize"):
                places.setdefault(file.stem, []).append(str(file.relative_to(REPOSITORY)))
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in SAME_NAME}
    assert twice == {}


TOO_LONG = {"ascend_patches.commands.command_line:parser": "it lists the commands, line by line, and decides nothing"}
"""Functions and classes that may be longer, each with the reason."""


@pytest.mark.parametrize(("kinds", "longest"), [((ast.FunctionDef, ast.AsyncFunctionDef), 60), ((ast.ClassDef,), 250)])
def test_functions_and_classes_can_be_read_at_one_sitting(kinds: tuple[type[ast.AST], ...], longest: int) -> None:
    found = {
        f"{module}:{node.name}": length
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and isinstance(node, kinds)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > longest
    }
    assert {name: length for name, length in found.items() if name not in TOO_LONG} == {}
