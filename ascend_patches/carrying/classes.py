"""What becomes of classes that a change adds, or whose bases it changes."""

from __future__ import annotations

import ast

from ascend_patches.carrying import further_bases
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.class_making import makes_more_than_a_class
from ascend_patches.carrying.decorators import undecorable
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.sides import Sides


class Classes:
    """Judges the heads of classes; what is in them are items of their own."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def judge(self, definition: Definition, sides: Sides) -> None:
        if sides.old is not None:
            if sides.release is None:
                definition.refuse("not there", "the release has no such class")
            else:
                self._other_header(definition, sides)
            return
        if sides.release is not None:
            definition.refuse("conflict", "the change adds it, and the release has another class of this name")
        elif sides.new.scope and sides.new.scope not in sides.there.items:
            definition.refuse("not there", f"the release has no class {sides.new.scope}")
        else:
            node = sides.new.node
            foreign = [
                text
                for text in (ast.unparse(each) for each in getattr(node, "decorator_list", []))
                if "dataclass" not in text and "final" not in text
            ]
            if foreign:
                definition.refuse("cannot", f"@{foreign[0]} runs when the class is made, and cannot be undone")
                return
            more = makes_more_than_a_class(self.code, definition.module, node) if isinstance(node, ast.ClassDef) else ""
            for inner in ast.walk(node):
                more = more or (undecorable(inner) if isinstance(inner, FunctionNode) else "")
            if more:
                definition.refuse("cannot", more)
                return
            definition.refuse("added", "")
            definition.text = sides.after.source(sides.new)

    def _other_header(self, definition: Definition, sides: Sides) -> None:
        """A class whose decorators, bases or keywords change."""
        old, new, release = sides.old, sides.new, sides.release
        assert old is not None
        assert release is not None
        assert isinstance(old.node, ast.ClassDef)
        assert isinstance(new.node, ast.ClassDef)
        if release.code != old.code:
            definition.refuse("conflict", "the release has other bases or decorators")
            return
        if new.conditions or release.conditions or new.scope:
            definition.refuse("cannot", "its bases change, and it is no class that its module always has")
            return
        layered = self.code.over({sides.place: sides.after.text})
        said = further_bases.refusal(layered, module_of(sides.place), old.node, new.node)
        if said:
            definition.refuse("cannot", said)
            return
        definition.refuse("exact", "")
        definition.text = f"{further_bases.header_of(new, sides.after)}\n    pass"
        definition.before = f"{further_bases.header_of(release, sides.there)}\n    pass"
        definition.base, definition.theirs = f"{further_bases.header_of(old, sides.before)}\n    pass", definition.text
