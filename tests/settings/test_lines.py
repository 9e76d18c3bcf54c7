"""The line of every key: the same as parsing the document line by line would find."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ascend_patches.settings.lines import Path, lines_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEPTH = 4


def parsed(text: str) -> Any:
    """The document, or None where it is none."""
    try:
        return tomllib.loads(text)
    except ValueError:
        return None


def paths(value: Any, path: Path = ()) -> set[Path]:
    """Every key of a document, down to the depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path[:DEPTH]}.union(*(paths(below, (*path, key)) for key, below in inner))


def line_by_line(text: str) -> dict[Path, int]:
    """Where each key is first there; it was begun where the document was last complete without it."""
    lines, found, begin = text.split("\n"), dict[Path, int](), 1
    for count in range(1, len(lines) + 1):
        document = parsed("\n".join(lines[:count]))
        if document is not None:
            for path in paths(document) - {()}:
                found.setdefault(path, begin)
            begin = count + 1
            while begin <= len(lines) and not lines[begin - 1].partition("#")[0].strip():
                begin += 1
    return found


_keys = st.sampled_from(["a", "b", "c.d", '"e f"', "'g'", "a.b"])
_values = st.sampled_from(
    [
        "1",
        "true",
        '"x # ["',
        "'\\'",
        '"\\""',
        "[1, [2]]",
        "[\n1, # ]\n[2],\n]",
        "{ a = 1, b.c = [3] }",
        '"""\n[a]\na = 1\n"""',
        "'''\n# \\\n'''",
        '"""x"""""',
        "'''x'''''",
        '""""x"""',
        '""',
        '""""""',
        "1979-05-27",
    ]
)
_statements = st.one_of(
    st.tuples(_keys, _values).map(" = ".join),
    _keys.map("[{}]".format),
    _keys.map("[[{}]]".format),
    st.sampled_from(["", "# a = 1", "  "]),
)


@given(st.lists(st.tuples(_statements, st.sampled_from(["", "", "  # x = ["])), max_size=8))
@hypothesis_settings(max_examples=150, deadline=None)
def test_every_key_is_on_the_line_where_its_statement_begins(statements: list[tuple[str, str]]) -> None:
    text = ""
    for statement, comment in statements:  # what would break the document is left out of it
        longer = f"{text}{statement}{comment}\n"
        text = longer if parsed(longer) is not None else text
    assert lines_of(text, DEPTH) == line_by_line(text)


def test_nothing_below_the_depth_is_listed() -> None:
    assert lines_of("a.b.c = [1, 2]\n[x.y.z]\nw = 1", 2) == {("a",): 1, ("a", "b"): 1, ("x",): 2, ("x", "y"): 2}
