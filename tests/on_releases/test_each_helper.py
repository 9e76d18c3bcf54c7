"""Every function that a patch replaces or relies on, doctored in a copy of the release: the patch notices each.

The code is changed where deciding reads it, in the syntax tree, so that no release has to be run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from on_releases.pairs_under_test import by_name
from releases.compatibility import environment, sources
from releases.pairs import PAIRS, Pair
from releases.store import Store

from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Patch
from ascend_patches.declaring.target import Target
from ascend_patches.patches import PATCHES
from ascend_patches.upstream.finding import Finding
from ascend_patches.upstream.sources import Found, Roots

pytestmark = [pytest.mark.upstream, pytest.mark.costly, by_name(PAIRS)]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Undo = Callable[[], object]
LOCK = Lock.read()


class Release:
    """The code of one release; what was found out about a function is remembered as long as it is left as it is."""

    def __init__(self, pair: Pair, store: Store) -> None:
        self.code = sources(pair, store)
        self._where = environment(pair)
        self._known: dict[str, Finding] = {}

    def decided(self, patch: Patch, touched: str = "") -> Decision:
        """What is decided about a patch; functions of the name ``touched`` are looked at again."""

        def look(target: Target) -> Finding:
            if touched and target.rpartition(":")[2].rpartition(".")[2] == touched:
                return self.code.look(target)
            if target not in self._known:
                self._known[target] = self.code.look(target)
            return self._known[target]

        return decide(patch, self._where, look, LOCK, "skip", self.code.has)


def other_body(function: Function) -> Undo:
    function.body.append(ast.parse("unheard_of = None").body[0])
    return function.body.pop


def other_default(function: Function) -> Undo:
    """Another value of the last default, or a new argument with one."""
    arguments = function.args
    if arguments.defaults:
        before = arguments.defaults[-1]
        arguments.defaults[-1] = ast.Constant("unheard of")
        return lambda: arguments.defaults.__setitem__(-1, before)
    arguments.kwonlyargs.append(ast.arg("unheard_of"))
    arguments.kw_defaults.append(ast.Constant(None))
    return lambda: (arguments.kwonlyargs.pop(), arguments.kw_defaults.pop())


def other_decorator(function: Function) -> Undo:
    function.decorator_list.insert(0, ast.Name("unheard_of"))
    return lambda: function.decorator_list.pop(0)


CHANGES = (other_body, other_default, other_decorator)


def override(owner: ast.ClassDef, name: str) -> Undo:
    """A class gets a method of its own where it inherited one, or had none."""
    owner.body.append(ast.parse(f"def {name}(self, *args, **kwargs):\n    return None").body[0])
    return owner.body.pop


@contextmanager
def changed(change: Callable[[], Undo]) -> Iterator[None]:
    undo = change()
    try:
        yield
    finally:
        undo()


def class_of(code: Roots, target: Target) -> ast.ClassDef | None:
    """The class that a target names, where it is written in the module that the target names."""
    tree, names = code.tree(target.module), target.path.split(".")
    if tree is None or len(names) != 2:
        return None
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == names[0]), None)


def unnoticed(patch: Patch, release: Release) -> Iterator[str]:
    """What can be changed in a release without a patch that is on there noticing it."""
    plain = release.decided(patch)
    assert plain.variant is not None
    for target in plain.variant.examined:
        name = target.path.rpartition(".")[2]
        for what, change in _changes(release.code, target, name):
            with changed(change):
                now = release.decided(patch, touched=name)
            if now.verdict == "apply" and now.variant is plain.variant:
                yield f"{patch.name}: {target}: {what}"
    assert release.decided(patch) == plain


def _changes(code: Roots, target: Target, name: str) -> Iterator[tuple[str, Callable[[], Undo]]]:
    found, owner = code.find(target), class_of(code, target)
    if isinstance(found, Found):
        for change in CHANGES:
            yield change.__name__, partial(change, found.node)
    if owner is not None and not (isinstance(found, Found) and found.node in owner.body):
        yield "an override", partial(override, owner, name)


def test_no_function_that_a_patch_knows_can_change_without_it(pair: Pair, store: Store) -> None:
    release = Release(pair, store)
    on = [patch for patch in PATCHES if release.decided(patch).verdict == "apply"]
    assert [each for patch in on for each in unnoticed(patch, release)] == []
