"""Draws what a command printed, which comes from stdin, as an SVG of a terminal.

picture.py FILE TITLE
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLOURS = {
    r"\bapplied\b": "green",
    r"\b(skipped|waiting)\b": "yellow",
    r"\b(failed|reverted)\b": "red",
    r"^\$ .*": "bold",
    r"\d+ of \d+ are equal, token for token": "green",
    r"This is not as it should be:": "red",
}
WIDTH = 112


def main() -> None:
    text = Text(sys.stdin.read().rstrip("\n"))
    for pattern, colour in COLOURS.items():
        text.highlight_regex(re.compile(pattern, re.MULTILINE), colour)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(text)
    drawn = console.export_svg(title=sys.argv[2], unique_id="demo")
    # Fonts from the web: a page may not load them for a picture, and a reader's own serve as well.
    Path(sys.argv[1]).write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
