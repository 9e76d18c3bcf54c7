"""What the commands print: tables as wide as the terminal with colour, plain aligned text everywhere else."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from ascend_patches.reporting import plain_text

_COLOURS = {
    "applied": "32",
    "ok": "32",
    "waiting": "36",
    "skipped": "33",
    "note": "33",
    "reverted": "33",
    "failed": "31",
    "problem": "31",
}
_LEAST = 30
"""A column that is wrapped has at least this width, and that of its longest word; else each cell has its own line."""


def on_terminal() -> bool:
    """Whether the output goes to a person who may want colour."""
    return _is_terminal() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """How many columns the terminal has; None where the output goes to a file or a pipe, which never wraps."""
    return shutil.get_terminal_size((80, 24)).columns if _is_terminal() else None


_DRAWN: set[str] = set()
"""The lines with colours that were made here: nothing else that steers a terminal reaches it."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings; the last column is the one that may be long, and is wrapped between words."""
    drawn = _table(headings, [[plain_text.one_line(cell) for cell in row] for row in rows])
    _DRAWN.update(line for line in drawn.splitlines() if "\x1b" in line)
    return drawn


def indented(text: str) -> str:
    """Text of others after a heading: no line of it can be taken for a line of ours."""
    return plain_text.lines(text).replace("\n", "\n    ")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = width()
    widths = [max(_wide(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    before = sum(widths[:-1]) + 2 * (len(headings) - 1)
    if columns is None or before + widths[-1] <= columns:
        return "\n".join(_line(row, widths) for row in (headings, *rows))
    longest = max((_wide(word) for row in rows for word in row[-1].split()), default=0)
    if columns - before >= max(_LEAST, longest):
        wrapped = (_wrapped(row, columns - before, widths) for row in (headings, *rows))
        return "\n".join(line for lines in wrapped for line in lines)
    return "\n".join(line for row in rows for line in _stacked(headings, row, columns))


def paragraph(heading: str, text: str, indent: int = 18) -> str:
    """A heading with its text beside it, wrapped between words to the terminal's width."""
    columns = max(min(width() or 110, 110), indent + _LEAST)
    return "\n".join(
        textwrap.wrap(
            text,
            columns,
            initial_indent=heading.ljust(indent - 1) + " ",
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def field(heading: str, text: str) -> str:
    """One fact of a few: wrapped on a terminal, a line of its own everywhere else."""
    return paragraph(heading, text, 11) if width() is not None else f"{heading:<10} {text}"


def coloured(state: str) -> str:
    """A state's name in its colour, on a terminal."""
    code = _COLOURS.get(state)
    return f"\x1b[{code}m{state}\x1b[0m" if code and on_terminal() else state


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _wide(text: str) -> int:
    """How many columns a text takes: a Chinese character takes two."""
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [coloured(cell) + " " * (width - _wide(cell)) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "  ".join([*padded, cells[-1]]).rstrip()


def _wrapped(cells: Sequence[str], room: int, widths: Sequence[int]) -> Iterator[str]:
    first, *rest = _fold(cells[-1], room)
    yield _line([*cells[:-1], first], widths)
    indent = " " * (sum(widths[:-1]) + 2 * (len(widths) - 1))
    for line in rest:
        yield indent + line


def _stacked(headings: Sequence[str], cells: Sequence[str], columns: int) -> Iterator[str]:
    """One row as a block: its first cells on a line, then a line for each further cell that says something."""
    named = [(heading, cell) for heading, cell in zip(headings, cells, strict=True) if cell]
    first, *others = named
    yield coloured(first[1])
    for heading, cell in others:
        label = f"  {heading}: " if heading else "  "
        folded = _fold(cell, max(columns - len(label), _LEAST))
        yield label + coloured(folded[0])
        yield from (" " * len(label) + line for line in folded[1:])


def _fold(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


class Output(io.TextIOBase):
    """An output of a command: a reader that has gone is no error, and any text can be written and steers no terminal.

    The command goes on to its end and keeps its exit code; what it prints after that is dropped.
    """

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        reconfigure = getattr(inner, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        harmless = "\n".join(line if line in _DRAWN else plain_text.lines(line) for line in text.split("\n"))
        try:
            return self._inner.write(harmless)
        except BrokenPipeError:
            self.drop()
            return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._inner.closed:  # Python flushes this object once more when it goes, which may be later
            return
        try:
            self._inner.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Send what is still in the buffer, and all that follows, nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._inner.fileno())
        os.close(nowhere)

    def isatty(self) -> bool:
        return self._inner.isatty()

    def fileno(self) -> int:
        return self._inner.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._inner.encoding
