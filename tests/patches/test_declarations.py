"""Declarations can be searched: the names that a patch replaces, uses or relies on are written out."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator

import pytest

from ascend_patches.declaring.patch import Patch
from ascend_patches.patches import PATCHES


def declaration_of(patch: Patch) -> ast.Module:
    """The syntax tree of the module that declares a patch."""
    package = f"ascend_patches.patches.{patch.name.replace('-', '_')}"
    return ast.parse(inspect.getsource(importlib.import_module(f"{package}.declaration")))


def names_in(patch: Patch) -> Iterator[str]:
    for variant in patch.variants:
        yield from variant.examined
        for rewrite in variant.rewrites:
            yield from (name for name in (rewrite.replace, rewrite.around) if isinstance(name, str))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_every_name_is_written_out(patch: Patch) -> None:
    written = {node.value for node in ast.walk(declaration_of(patch)) if isinstance(node, ast.Constant)}
    assert [name for name in names_in(patch) if name not in written] == []


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_declaration_imports_the_language_and_its_own_options_only(patch: Patch) -> None:
    own_options = f"ascend_patches.patches.{patch.name.replace('-', '_')}.options"
    imported = [node.module or "" for node in ast.walk(declaration_of(patch)) if isinstance(node, ast.ImportFrom)]
    foreign = [
        name
        for name in imported
        if name != own_options
        and not name.startswith("ascend_patches.declaring.")
        and name.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []
