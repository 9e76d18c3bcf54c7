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
_ONLY_NAMING = ("TypeVar", "cast", "field", "isinstance", "issubclass", "NewType")
"""What is given a class and asks nothing of it."""
_VALUES = (ast.Constant, ast.Name, ast.Attribute, ast.UnaryOp)
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
    if not (_is_plain_value(value) or (is_field and {"default", "default_factory"} & {*given})):
        return f"a field whose default is made by `{ast.unparse(value)[:60]}`"
    if not _is_of_the_standard_library(code, place):
        return OF_A_MADE_CONSTRUCTOR
    owner = next((each for each in code.lineage(place)[0] if name in code.members(each)), None)
    if owner is not None:
        return f"a field {name}, and {owner.target} has a {name} of its own on the release"
    heirs = code.subclasses(place)
    heir = next((each for each in heirs if each.node.decorator_list), None)
    if heir is not None:
        return f"a field of {place.path}, whose fields {heir.target} inherits as it was made"
    made = next((each for each in heirs if "__init__" in code.members(each)), None)
    if is_field and made is not None:
        return f"a field that {made.target}, which has a constructor of its own, would not get"
    return (
        _met_at_import(code, place)
        or (_made_without_constructor(code, place) if is_field else "")
        or _given_elsewhere(code, place, name, upstream, after)
    )


def _is_of_the_standard_library(code: Code, place: ClassPlace) -> bool:
    """Whether a class's decorator is the one of the standard library; others have that name as well."""
    head = place.node.decorator_list[0]
    called = dotted(head.func if isinstance(head, ast.Call) else head)
    return code.origin(place.module, called.partition(".")[0]) in (("dataclasses", "dataclass"), ("dataclasses", ""))


def _met_at_import(code: Code, place: ClassPlace) -> str:
    """What had an instance, or the fields, of a class when modules were imported; empty where nothing had."""
    call = next(import_time.calls(code, place.module, place.path), None) if "." not in place.path else None
    uses = list(import_time.uses(code, place.module, place.path))
    use = call or next((each for each in uses if each.is_call), None)
    if use is not None:
        return f"a field, and `{use.shown}` made an instance without it when {use.module.name} was imported"
    given = next((each for each in uses if _may_have_read_fields(each)), None)
    if given is not None:
        return f"a field, and `{given.shown}` may have read the fields when {given.module.name} was imported"
    return ""


def _may_have_read_fields(use: import_time.Use) -> bool:
    for node in ast.walk(use.statement):
        if isinstance(node, ast.Attribute) and node.value is use.node and node.attr.startswith("__"):
            return True
        given = (*node.args, *node.keywords) if isinstance(node, ast.Call) else ()
        if given and isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in _ONLY_NAMING:
            continue
        if any(use.node is inner for each in given for inner in ast.walk(each)):
            return True
    return False


def _made_without_constructor(code: Code, place: ClassPlace) -> str:
    """What makes an instance past the constructor, which alone gives it such a value; empty where nothing does."""
    name = place.path.rpartition(".")[2]
    for path in code.with_word(name):
        text = code.text(path) or ""
        calls = ast.walk(inventory(text).tree) if "__new__" in text else ()
        for call in calls:
            if not isinstance(call, ast.Call) or dotted(call.func).rpartition(".")[2] != "__new__":
                continue
            if any(dotted(each).rpartition(".")[2] == name for each in call.args):
                return f"a field, and {path} makes an instance without its constructor: `{ast.unparse(call)[:60]}`"
    return ""


def _given_elsewhere(code: Code, place: ClassPlace, name: str, upstream: ast.ClassDef, after: Iterable[str]) -> str:
    """Why a field that is last on the release is another one for code of the change; empty where it is not."""
    here = len(fields_of(place.node))
    inherits = any(fields_of(each.node) for each in code.lineage(place)[0][1:])
    names = {each.path.rpartition(".")[2] for each in (place, *code.subclasses(place))}
    if (_before(name, upstream) != here or inherits) and _is_given_by_place(
        names, min(_before(name, upstream), here), after
    ):
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
    return not names & {"__init__", "__new__", "__slots__", "__setattr__", "__getattribute__"}


def _is_plain_value(value: ast.expr) -> bool:
    return (
        all(_is_plain_value(each) for each in value.elts)
        if isinstance(value, ast.Tuple)
        else isinstance(value, _VALUES)
    )


def _before(name: str, node: ast.ClassDef) -> int:
    """How many fields stand before one."""
    listed = fields_of(node)
    return listed.index(name) if name in listed else len(listed)


def _is_given_by_place(names: set[str], last: int, texts: Iterable[str]) -> bool:
    """Whether code gives, or takes, so many values by their places that a field may be among them."""
    for text in texts:
        if not any(name in text for name in names):
            continue
        tree = inventory(text).tree
        if any(_is_by_place(node, last) for node in ast.walk(tree)):
            return True
        called = {*names, *_aliases(tree, names), "cls", "__class__"}
        calls = (call for call in calls_in(tree) if call.callee.rpartition(".")[2] in called)
        if any(call.count is None or call.count > last for call in calls):
            return True
    return False


def _is_by_place(node: ast.AST, last: int) -> bool:
    """Whether a node goes by the order of fields without the name of the class."""
    if isinstance(node, ast.MatchClass):
        return len(node.patterns) > last
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Call):
        return dotted(node.func.func) == "type" and len(node.args) > last
    return isinstance(node, (ast.Name, ast.Attribute)) and dotted(node).rpartition(".")[2] == "astuple"


def _aliases(tree: ast.Module, names: set[str]) -> set[str]:
    imported = (alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names)
    return {alias.asname for alias in imported if alias.name in names and alias.asname}
