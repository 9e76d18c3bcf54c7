"""Which fields can be added to a dataclass that is there: those that no call and no instance would miss.

A field that is added stands last on the release, wherever upstream has it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ascend_patches.carrying import import_time
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.carrying.usage import calls_in, dotted

_DECORATORS = ("dataclass", "dataclasses.dataclass")
_PLAIN_OPTIONS = ("eq", "repr", "unsafe_hash", "match_args")
_READ = ("ClassVar", "InitVar", "KW_ONLY")
_VALUES = (ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.UnaryOp)
OF_A_MADE_CONSTRUCTOR = "a field of a class whose constructor is made from its fields"


def refusal(code: Code, place: ClassPlace, new: ast.stmt, upstream: ast.ClassDef, after: Iterable[str]) -> str:
    """Why a dataclass cannot be given a field that it lacks; empty where it can.

    ``upstream`` is the class as the change leaves it, and ``after`` are the texts of the files that it changes.
    """
    if not _is_plain(place.node) or not isinstance(new, ast.AnnAssign):
        return OF_A_MADE_CONSTRUCTOR
    name, value = dotted(new.target), new.value
    if value is None:
        return "a field without a default, which the release's own calls do not give"
    if any(word in ast.unparse(new.annotation) for word in _READ):
        return OF_A_MADE_CONSTRUCTOR
    is_field = isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] == "field"
    given = [each.arg for each in value.keywords] if isinstance(value, ast.Call) else []
    if not (isinstance(value, _VALUES) or (is_field and {"default", "default_factory"} & {*given})):
        return f"a field whose default is made by `{ast.unparse(value)[:60]}`"
    heirs = code.subclasses(place)
    heir = next((each for each in heirs if each.node.decorator_list), None)
    if heir is not None:
        return f"a field of {place.path}, whose fields {heir.target} inherits as it was made"
    made = next((each for each in heirs if "__init__" in code.members(each)), None)
    if is_field and made is not None:
        return f"a field that {made.target}, which has a constructor of its own, would not get"
    use = next((each for each in import_time.uses(code, place.module, place.path) if each.is_call), None)
    if use is not None:
        return f"a field, and `{use.shown}` made an instance without it when {use.module.name} was imported"
    last = min(_before(name, upstream), len(fields_of(place.node)))
    if _before(name, upstream) != len(fields_of(place.node)) and _is_given_by_place(place.path, last, after):
        return "a field that the change gives by its place, which is another one on the release"
    return ""


def fields_of(node: ast.ClassDef) -> list[str]:
    """The names that a class annotates, in their order."""
    annotated = (each for each in node.body if isinstance(each, ast.AnnAssign))
    return [each.target.id for each in annotated if isinstance(each.target, ast.Name)]


def _is_plain(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass that writes its constructor from its fields, and nothing else does."""
    if len(node.decorator_list) != 1 or node.keywords:
        return False
    decorator = node.decorator_list[0]
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    options = decorator.keywords if isinstance(decorator, ast.Call) else []
    if dotted(called) not in _DECORATORS or any(each.arg not in _PLAIN_OPTIONS for each in options):
        return False
    annotations = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
    if any(word in text for text in annotations for word in ("InitVar", "KW_ONLY")):
        return False
    names = {str(getattr(each, "name", "")) for each in node.body}
    names |= {dotted(target) for each in node.body if isinstance(each, ast.Assign) for target in each.targets}
    return not names & {"__init__", "__new__", "__slots__"}


def _before(name: str, node: ast.ClassDef) -> int:
    """How many fields stand before one."""
    listed = fields_of(node)
    return listed.index(name) if name in listed else len(listed)


def _is_given_by_place(path: str, last: int, texts: Iterable[str]) -> bool:
    """Whether a call gives a class so many values by their places that a field after some of them may be among them."""
    name = path.rpartition(".")[2]
    calls = (call for text in texts if name in text for call in calls_in(inventory(text).tree))
    return any(call.callee.rpartition(".")[2] == name and (call.count is None or call.count > last) for call in calls)
