"""A class that gets further bases: which of them an existing class can be given, and what of it is carried.

Python takes other bases for a class that is there where their instances are laid out alike. It does not run again
what runs when a class is made; so a base may be added only if that would have done nothing.
"""

from __future__ import annotations

import ast

from ascend_patches.carrying.inventory import FunctionNode, Inventory, Item
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.carrying.usage import dotted

_AT_CREATION = ("__init_subclass__", "__new__", "__init__", "__slots__", "__class_getitem__", "__set_name__", "__del__")


def refusal(code: Code, module: str, old: ast.ClassDef, new: ast.ClassDef) -> str:
    """Why an existing class cannot be made the changed one; empty where its bases can be exchanged.

    ``code`` is the release with what the change adds.
    """
    before, after = ([ast.unparse(base) for base in node.bases] for node in (old, new))
    heads = [[ast.unparse(each) for each in (*node.decorator_list, *node.keywords)] for node in (old, new)]
    if heads[0] != heads[1]:
        return "its decorators or keywords change, which no existing class can be given"
    if heads[0]:
        return "its decorators or keywords saw the class as it was made, with its old bases"
    if len(after) <= len(before) or after[: len(before)] != before:
        return "it loses or changes a base, which no existing class can be given; only further ones can be added"
    if not all(dotted(base) for base in new.bases):
        return "its bases are more than names"
    return next((said for base in new.bases[len(before) :] if (said := _unfit(code, module, new, base))), "")


def _unfit(code: Code, module: str, new: ast.ClassDef, base: ast.expr) -> str:
    """Why one class cannot be added to the bases of another that is there."""
    shown = ast.unparse(base)
    place, own = code.class_named(module, base), code.class_at(module, new.name)
    if place is None or own is None:
        return f"{shown} is not of the release's packages, and nothing shows what it does when a class inherits it"
    added, outside = code.lineage(place)
    if outside:
        return f"{shown} inherits from {outside[0]}, whose code is not here"
    for owner in added:
        if owner.node.keywords or owner.node.decorator_list:
            return f"{owner.target} does more than to be inherited"
        done = next((name for name in _AT_CREATION if name in code.members(owner)), "")
        if done:
            return f"{owner.target} has {done}, which an existing class would not have run"
    if _is_abstract(code, place) and not _is_abstract(code, own, but=place):
        return f"{shown} has a metaclass that {new.name} was not made with"
    missing = [name for owner in added for name in _abstract(owner) if not _is_given(code, own, name, place)]
    return f"{new.name} lacks {missing[0]}, which {shown} asks for" if missing else ""


def header_of(item: Item, text: Inventory) -> str:
    """A class without what is in it, as its text writes it."""
    return "\n".join(text.lines[item.first_line - 1 : end_of_header(item, text)])


def end_of_header(item: Item, text: Inventory) -> int:
    """The line on which the head of a class ends."""
    node = item.node
    assert isinstance(node, ast.ClassDef)
    ends = [each.end_lineno or 0 for each in (*node.bases, *(keyword.value for keyword in node.keywords))]
    line = max([node.lineno, *ends])
    while not text.lines[line - 1].partition("#")[0].rstrip().endswith(":"):
        line += 1
    return line


def _is_abstract(code: Code, place: ClassPlace, but: ClassPlace | None = None) -> bool:
    """Whether a class is made by ABCMeta, as far as its bases that are here show."""
    without = {each.target for each in code.lineage(but)[0]} if but is not None else set()
    owners = [each for each in code.lineage(place)[0] if each.target not in without]
    bases = [ast.unparse(base) for owner in owners for base in owner.node.bases]
    keywords = [ast.unparse(each.value) for owner in owners for each in owner.node.keywords if each.arg == "metaclass"]
    return any(each in ("ABC", "abc.ABC") for each in bases) or any(each.endswith("ABCMeta") for each in keywords)


def _abstract(owner: ClassPlace) -> list[str]:
    methods = [node for node in owner.node.body if isinstance(node, FunctionNode)]
    return [each.name for each in methods if any("abstract" in ast.unparse(one) for one in each.decorator_list)]


def _is_given(code: Code, own: ClassPlace, name: str, base: ClassPlace) -> bool:
    """Whether a class has what a base of it asks for, not counting the base itself."""
    asking = {each.target for each in code.lineage(base)[0]}
    return any(name in code.members(each) for each in code.lineage(own)[0] if each.target not in asking)
