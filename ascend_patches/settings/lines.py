"""Where the keys of a TOML document stand, which the parser does not tell."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'|"
    r"#[^\n]*|"
    r"[\[\]{}\n]",
    re.DOTALL,
)


def lines_of(text: str, depth: int) -> dict[Path, int]:
    """The line where the statement begins that first names a key, for every key down to a depth.

    The document has to be one that parses.
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    entries: dict[Path, int] = {}
    for line, statement in _statements(text):
        if statement.startswith("["):
            table = _opened(statement, entries, depth)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], line)
        else:
            for path in _paths(tomllib.loads(statement), table, depth):
                lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each assignment, with the line it begins on."""
    begin, line, open_brackets = 0, 1, 0
    begin_line = line
    for token in _TOKEN.finditer(f"{text}\n"):
        what = token[0]
        line += what.count("\n")
        open_brackets += (what in ("[", "{")) - (what in ("]", "}"))
        if what == "\n" and not open_brackets:
            statement = text[begin : token.start()].strip()
            if statement and not statement.startswith("#"):
                yield begin_line, statement
            begin, begin_line = token.end(), line


def _opened(header: str, entries: dict[Path, int], depth: int) -> Path:
    """The table that a header opens, down to a depth; ``entries`` counts those of each array of tables."""
    found: Any = tomllib.loads(header)
    path: Path = ()
    while found and len(path) < depth:
        ((key, found),) = found.items()
        path = (*path, key)
        if isinstance(found, list):
            entries[path] = entries.get(path, -1) + 1
            found = found[0]
        if path in entries:
            path = (*path, entries[path])
    return path


def _paths(value: Any, path: Path, depth: int) -> Iterator[Path]:
    if len(path) < depth and isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from _paths(inner, (*path, key), depth)
