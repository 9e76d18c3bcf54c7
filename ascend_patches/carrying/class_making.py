"""What Python reads once, when it makes a class: what changes of that later has no effect."""

from __future__ import annotations

import ast

from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.carrying.usage import dotted

_AT_CREATION = (
    *("__init_subclass__", "__set_name__", "__prepare__", "__mro_entries__", "__class_getitem__"),
    *("_generate_next_value_", "__instancecheck__", "__slots__", "__get_pydantic_core_schema__"),
)
_OF_METACLASSES = ("__new__", "__init__", "__call__")
_WRITTEN = ("__init__", "__repr__", "__eq__", "__hash__", "__match_args__", "__lt__", "__le__", "__gt__", "__ge__")
_CLOSED = ("NamedTuple", "Struct", "BaseModel")
_PLAIN_STATEMENTS = (*FunctionNode, ast.ClassDef, ast.Pass, ast.Assign, ast.AnnAssign)


def runs_when_made(code: Code, module: str, scope: str, name: str) -> str:
    """Why a method has done its work when the classes that it concerns were made; empty where it has not."""
    if name in _AT_CREATION:
        return f"{name} runs when a class is made, and the classes are"
    place = code.class_at(module, scope)
    if place is not None and name in _OF_METACLASSES and _is_metaclass(code, place):
        return f"{name} of a metaclass runs when a class is made, and the classes are"
    if place is not None and _is_dataclass(place):
        if name in _WRITTEN and name not in code.members(place):
            return f"{name} is one that the dataclass decorator wrote when the class was made"
        if name == "__post_init__" and all(name not in code.members(each) for each in code.lineage(place)[0]):
            return f"{name} is called by a constructor that was written for a class without one"
    return ""


def refuses_attributes(code: Code, place: ClassPlace) -> tuple[str, frozenset[str]]:
    """Why instances of a class take no attribute but those that it names, and these; empty where they take any."""
    lineage, outside = code.lineage(place)
    named: set[str] = {name for owner in lineage for name in code.members(owner) if _in_body(code, owner, name)}
    for owner in lineage:
        for decorator in owner.node.decorator_list:
            text = ast.unparse(decorator)
            if "dataclass" in text and "frozen=True" in text.replace(" ", ""):
                return f"{owner.target} is frozen", frozenset()
    for base in outside:
        if base.rpartition(".")[2] in _CLOSED:
            return f"{place.target} is a {base}", frozenset(named)
    if not outside and all(_has_slots(owner) for owner in lineage):
        return f"{place.target} has __slots__", frozenset(named)
    return "", frozenset()


def unwelcome_attributes(code: Code, module: str, scope: str, stores: set[str]) -> list[str]:
    """The attributes that a method newly sets on its instance, and that the class does not take."""
    place = code.class_at(module, scope) if scope and stores else None
    why, named = refuses_attributes(code, place) if place is not None else ("", frozenset())
    return [f"an attribute {name} on self, and {why}" for name in sorted(stores - named)] if why else []


def makes_more_than_a_class(code: Code, module: str, node: ast.ClassDef) -> str:
    """Why a class that is added does more when it is made than to be there; empty where it does not."""
    for statement in node.body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not isinstance(statement, _PLAIN_STATEMENTS) and not is_text:
            return f"`{ast.unparse(statement).partition(chr(10))[0][:60]}` runs when it is made, and cannot be undone"
        if isinstance(statement, ast.ClassDef):
            inner = makes_more_than_a_class(code, module, statement)
            if inner:
                return inner
    for base in node.bases:
        above = code.class_named(module, base.value if isinstance(base, ast.Subscript) else base)
        for owner in code.lineage(above)[0] if above is not None else ():
            if "__init_subclass__" in code.members(owner):
                return f"{owner.target} notes the classes that inherit it, which cannot be undone"
            for keyword in owner.node.keywords:
                if keyword.arg == "metaclass" and dotted(keyword.value).rpartition(".")[2] != "ABCMeta":
                    return f"its metaclass {ast.unparse(keyword.value)} runs when it is made"
    if any(
        keyword.arg != "metaclass" or dotted(keyword.value).rpartition(".")[2] != "ABCMeta" for keyword in node.keywords
    ):
        return "what its class line is given runs when it is made"
    return ""


def _is_dataclass(place: ClassPlace) -> bool:
    return any("dataclass" in ast.unparse(each) for each in place.node.decorator_list)


def _is_metaclass(code: Code, place: ClassPlace) -> bool:
    return any(
        each.rpartition(".")[2] in ("type", "ABCMeta", "EnumMeta", "EnumType") for each in code.lineage(place)[1]
    )


def _has_slots(owner: ClassPlace) -> bool:
    if any("slots=True" in ast.unparse(each).replace(" ", "") for each in owner.node.decorator_list):
        return True
    return any(
        isinstance(target, ast.Name) and target.id == "__slots__"
        for statement in owner.node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    )


def _in_body(code: Code, owner: ClassPlace, name: str) -> bool:
    """Whether a class itself says a name; what its methods set on an instance is not one of those."""
    return any(isinstance(node, (ast.stmt,)) for node in code.members(owner)[name])
