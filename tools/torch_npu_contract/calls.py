"""The op calls our patches make, as a table with one line per call, and whether a call binds to a schema.

A section names the patch, a line is the call as Python would write it, with the kind of each value in place of the
value (``Tensor``, ``int``, ``float``, ``bool``, ``str``, ``dtype``, lists of these such as ``[int]``) or a constant::

    [rotary-embedding]
    npu_rotary_mul(Tensor, Tensor, Tensor, rotary_mode="half")
    npu_rotary_mul(Tensor, Tensor, Tensor, rotate=Tensor)  | from 2.11.0
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import CannotCheckError
from .releases import age
from .schema import Argument, Schema, parse

_KINDS = ("Tensor", "int", "float", "bool", "str", "dtype")
_RANGE = re.compile(r"(?:from (?P<first>\S+))?\s*(?:before (?P<end>\S+))?")
_TAKES = {
    "Tensor": {"Tensor"},
    "int": {"int", "bool"},
    "SymInt": {"int", "bool"},
    "float": {"int", "float"},
    "bool": {"bool"},
    "str": {"str"},
    "ScalarType": {"dtype"},
    "Scalar": {"int", "float", "bool"},
}


@dataclass(frozen=True)
class Call:
    """One call: the kinds of its positional and keyword values, for the releases between ``first`` and ``end``."""

    patch: str
    text: str
    op: str
    positional: tuple[str, ...]
    keywords: Mapping[str, str]
    first: str | None
    end: str | None

    def is_for(self, release: str) -> bool:
        after = self.first is None or age(self.first) <= age(release)
        return after and (self.end is None or age(release) < age(self.end))


def read_calls(path: Path) -> list[Call]:
    """The calls of a table."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CannotCheckError(f"the table of calls cannot be read: {error}") from None
    return list(_calls(lines, path))


def _calls(lines: list[str], path: Path) -> Iterator[Call]:
    patch = ""
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text.startswith("[") and text.endswith("]"):
            patch = text[1:-1]
        elif text:
            try:
                yield _call(patch, text)
            except ValueError as error:
                raise CannotCheckError(f"{path}:{number}: {error}") from None


def _call(patch: str, line: str) -> Call:
    text, _, wanted = (part.strip() for part in line.partition("|"))
    releases = _RANGE.fullmatch(wanted)
    if releases is None:
        raise ValueError(f"{wanted!r} is no range of releases: write 'from 2.9.0', 'before 2.13.0' or both")
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not a call: {text!r} ({error.msg})") from None
    if not isinstance(node, ast.Call):
        raise ValueError(f"not a call: {text!r}")
    positional = tuple(_kind(value) for value in node.args)
    keywords = {str(keyword.arg): _kind(keyword.value) for keyword in node.keywords}
    return Call(patch, text, ast.unparse(node.func), positional, keywords, releases["first"], releases["end"])


def _kind(node: ast.expr) -> str:
    if isinstance(node, ast.Name) and node.id in _KINDS:
        return node.id
    if isinstance(node, ast.Constant):
        return "None" if node.value is None else type(node.value).__name__
    if isinstance(node, ast.List) and len(node.elts) == 1:
        return f"[{_kind(node.elts[0])}]"
    raise ValueError(f"{ast.unparse(node)!r} is no kind of value: use {', '.join(_KINDS)}, [kind] or a constant")


def why_it_does_not_bind(call: Call, schemas: Mapping[str, str]) -> str | None:
    """The reason why no overload of the op takes the call, or None if one does."""
    overloads = [parse(text) for name, text in schemas.items() if _names(call.op, name)]
    if not overloads:
        ops = {name.partition("::")[2].partition(".")[0] for name in schemas}
        close = difflib.get_close_matches(call.op, ops, n=1)
        return "no such op" + (f"; did you mean {close[0]}?" if close else "")
    reasons = [_misfit(call, overload) for overload in overloads]
    return None if None in reasons else "; ".join(f"{o.op}: {r}" for o, r in zip(overloads, reasons, strict=True))


def _names(op: str, registered: str) -> bool:
    """Whether a call of ``op``, which need not name its overload, may reach the registered name."""
    bare = registered.partition("::")[2]
    return op in (bare, bare.partition(".")[0])


def _misfit(call: Call, schema: Schema) -> str | None:
    by_position = [argument for argument in schema.arguments if not argument.keyword_only]
    if len(call.positional) > len(by_position):
        return f"takes {len(by_position)} positional arguments, {len(call.positional)} given"
    given = {argument.name: kind for argument, kind in zip(by_position, call.positional, strict=False)}
    known = {argument.name: argument for argument in schema.arguments}
    for name, kind in call.keywords.items():
        if name not in known:
            return f"has no argument {name!r}"
        if name in given:
            return f"argument {name!r} is given twice"
        given[name] = kind
    for argument in schema.arguments:
        if argument.name not in given:
            if argument.default is None:
                return f"argument {argument.name!r} is missing"
        elif not _takes(argument, given[argument.name]):
            return f"argument {argument.name!r} is {argument.type}, {given[argument.name]} given"
    return None


def _takes(argument: Argument, kind: str) -> bool:
    wanted = re.sub(r"\([^)]*\)", "", argument.type)
    if wanted.endswith("?"):
        if kind == "None":
            return True
        wanted = wanted[:-1]
    element = re.fullmatch(r"(\w+\??)\[\d*\]", wanted)
    if element is not None:
        return kind.startswith("[") and kind[1:-1] in _TAKES.get(element[1].rstrip("?"), set())
    return kind in _TAKES.get(wanted, set())
