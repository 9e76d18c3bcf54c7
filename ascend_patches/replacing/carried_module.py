"""Make a carried module: one that a change adds, run once in a namespace of its own under upstream's name for it."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.replacing.find import ABSENT, Found
from ascend_patches.upstream.fingerprints import parse


def find_place(rewrite: Carried) -> Found:
    """Where a module goes in its package; TargetError where the release has one of that name."""
    package = sys.modules.get(rewrite.module)
    if package is None:
        package = importlib.import_module(rewrite.module)
    found = importlib.machinery.PathFinder.find_spec(rewrite.home, getattr(package, "__path__", None))
    if rewrite.home in sys.modules or rewrite.path in vars(package) or found is not None:
        raise TargetError(f"{rewrite.target}: the change adds this module, and it is there already")
    return Found(package, rewrite.path, ABSENT, True)


def make(rewrite: Carried, made: Mapping[Target, Any]) -> Any:
    """The module, whole; ``made`` is what goes in place together with it, and is not there yet.

    It can be imported from now on, because what it runs may ask for it by name. Where it is not put in place after
    all, ``Site.forget_module`` takes it away again.
    """
    try:
        with open(rewrite.file, encoding="utf-8") as stream:
            tree = parse(stream.read())
    except (OSError, SyntaxError) as error:
        raise TargetError(f"{rewrite.target}: its code cannot be read: {error}") from None
    spec = importlib.util.spec_from_file_location(rewrite.home, rewrite.file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    _give(module.__dict__, tree, rewrite.home.rpartition(".")[0], made)
    sys.modules[rewrite.home] = module
    try:
        exec(compile(tree, rewrite.file, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        sys.modules.pop(rewrite.home, None)
        if not isinstance(error, Exception):
            raise
        raise TargetError(f"{rewrite.target}: running it failed: {type(error).__name__}: {error}") from error
    return module


def _give(namespace: dict[str, Any], tree: ast.Module, package: str, made: Mapping[Target, Any]) -> None:
    """Bind what a module imports and what is to come, and take that out of its imports."""
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            source = _absolute(node, package)
            there = {alias.name: Target(f"{source}:{alias.name}") for alias in node.names}
            for alias in node.names:
                if there[alias.name] in made:
                    namespace[alias.asname or alias.name] = made[there[alias.name]]
            node.names = [alias for alias in node.names if there[alias.name] not in made]
            if not node.names:
                continue
        body.append(node)
    tree.body = body


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
