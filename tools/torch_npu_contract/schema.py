"""Op schemas, taken apart so that two spellings of one schema compare equal.

A schema is spelled differently by its author (``str layout='BSND', float epsilon=1e-5``) and by torch once it is
registered (``str layout="BSND", float epsilon=1.0000000000000001e-05``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

_ARGUMENT = re.compile(r"(?P<type>.+?)\s*(?<![\w.])(?P<name>[A-Za-z_]\w*)\s*(?:=\s*(?P<default>.+))?", re.DOTALL)
_SCHEMA = re.compile(
    r"(?:(?P<namespace>\w+)::)?(?P<op>\w+(?:\.\w+)?)\s*\((?P<rest>.*)\)\s*->\s*(?P<returns>.+)", re.DOTALL
)
_WORDS = {"True": "true", "False": "false", "Mean": "1"}


@dataclass(frozen=True)
class Argument:
    """One argument, its type without blanks and its default in one spelling."""

    name: str
    type: str
    default: str | None
    keyword_only: bool

    def __str__(self) -> str:
        default = "" if self.default is None else f"={self.default}"
        return f"{'keyword-only ' if self.keyword_only else ''}{self.type} {self.name}{default}"


@dataclass(frozen=True)
class Schema:
    """One schema; ``op`` has the overload's name in it, the namespace is left out."""

    op: str
    arguments: tuple[Argument, ...]
    returns: str


def parse(text: str) -> Schema:
    """Take a schema apart; ValueError if the text is none."""
    match = _SCHEMA.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not an op schema: {text!r}")
    return Schema(match["op"], tuple(_arguments(match["rest"])), "".join(match["returns"].split()))


def differences(ours: Schema, real: Schema) -> list[str]:
    """What is different, one line each; nothing if the schemas are the same."""
    found = [
        f"argument {number}: ours {mine or 'missing'}, real {theirs or 'missing'}"
        for number, (mine, theirs) in enumerate(zip_longest(ours.arguments, real.arguments), start=1)
        if mine != theirs
    ]
    if ours.returns != real.returns:
        found.append(f"returns: ours {ours.returns}, real {real.returns}")
    return found


def _arguments(text: str) -> Iterator[Argument]:
    keyword_only = False
    for part in _split(text):
        if part == "*":
            keyword_only = True
            continue
        match = _ARGUMENT.fullmatch(part)
        if match is None:
            raise ValueError(f"not an argument of an op schema: {part!r}")
        kind = "".join(match["type"].split())
        default = None if match["default"] is None else _default(match["default"].strip(), kind)
        yield Argument(match["name"], kind, default, keyword_only)


def _split(text: str) -> Iterator[str]:
    """The parts between commas, but for commas in brackets."""
    depth, start = 0, 0
    for position, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
    if text[start:].strip():
        yield text[start:].strip()


def _default(text: str, kind: str) -> str:
    if text[0] in "'\"":
        return repr(ast.literal_eval(text))
    if kind.startswith("float") and text != "None":
        return repr(float(text))
    elements = [element.strip() for element in text.strip("[]").split(",")]
    if text.startswith("[") and kind.endswith(f"[{len(elements)}]") and len(set(elements)) == 1:
        return elements[0]
    return _WORDS.get(text, "".join(text.split()))
