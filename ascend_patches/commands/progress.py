"""How far a command is, on the error stream: in one line where that is a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable

Tell = Callable[[str], None]


def teller(descriptor: int | None) -> Tell:
    """Writes progress to a descriptor that is not among those that vLLM writes to: on a terminal in one line."""
    if descriptor is None:
        return lambda _: None
    stream = os.fdopen(descriptor, "w", encoding="utf-8")
    on_terminal = stream.isatty()
    latest = ""

    def tell(text: str) -> None:
        nonlocal latest
        what = text.partition(":")[0]
        if on_terminal:
            stream.write(f"\r\x1b[K{text[:100]}")
        elif what != latest:
            stream.write(f"{what}\n")
        latest = what
        stream.flush()

    return tell
