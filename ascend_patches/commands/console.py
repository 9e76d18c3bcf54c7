"""What the commands print: tables and colour on a terminal, plain aligned text everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

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


def on_terminal() -> bool:
    """Whether a person is looking who may want colour."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings; the last column is the one that may be long."""
    if on_terminal():
        drawn = _drawn(headings, rows)
        if drawn is not None:
            return drawn
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings) - 1)]

    def line(cells: Sequence[str]) -> str:
        padded = [coloured(cell) + " " * (width - len(cell)) for cell, width in zip(cells, widths, strict=False)]
        return "  ".join([*padded, cells[-1]]).rstrip()

    return "\n".join([line(headings), *map(line, rows)])


def coloured(state: str) -> str:
    """A state's name in its colour, on a terminal."""
    code = _COLOURS.get(state)
    return f"\x1b[{code}m{state}\x1b[0m" if code and on_terminal() else state


def _drawn(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """The table as rich draws it, where that library is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    console = Console()
    drawn = Table(box=None, pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text.from_ansi(coloured(cell)) for cell in row))
    with console.capture() as capture:
        console.print(drawn)
    return str(capture.get()).rstrip("\n")
