"""What added classes and methods override: other code than where the change was made may need no mending."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.upstream import fingerprints


def of_class(place: ClassPlace, release: Code, upstream: Code, touched: Collection[str]) -> Iterator[str]:
    """Doubts about the methods of an added class; ``touched`` are the targets that the change itself concerns."""
    for node in place.node.body:
        if isinstance(node, FunctionNode):
            yield from of_method(place, node.name, release, upstream, touched)


def of_method(place: ClassPlace, name: str, release: Code, upstream: Code, touched: Collection[str]) -> Iterator[str]:
    """A doubt about one added method that overrides another function than it was made to override."""
    over = _overridden(place, name, release)
    if over is None or f"{over[0].target}.{name}" in touched:
        return
    owner, ours = over
    there = upstream.class_at(owner.module, owner.path)
    if there is None:
        return  # of another package, whose code is not in upstream's tree
    theirs = [each for each in upstream.members(there).get(name, []) if isinstance(each, FunctionNode)]
    if not theirs:
        yield f"it overrides {owner.target}.{name}, which was not there where the change was made"
    elif fingerprints.of_node(theirs[0]) != fingerprints.of_node(ours):
        yield f"it overrides {owner.target}.{name}, which was another function where the change was made"


def _overridden(place: ClassPlace, name: str, code: Code) -> tuple[ClassPlace, ast.AST] | None:
    for owner in code.lineage(place)[0]:
        if owner.target == place.target:
            continue
        found = [each for each in code.members(owner).get(name, []) if isinstance(each, FunctionNode)]
        if found:
            return owner, found[0]
    return None
