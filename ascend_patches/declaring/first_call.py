"""The first call of what was put in place: what it relies on may have been exchanged since, out of sight of any import.

Replacements say so where they meet a layer or a device for the first time, so that no later call pays for it.
"""

from __future__ import annotations

from collections.abc import Callable

_look: Callable[[], None] | None = None


def expect(look: Callable[[], None]) -> None:
    """Have ``look`` called at the next first call."""
    global _look
    _look = look


def happens() -> None:
    """Look, unless that was done since something was last put in place."""
    global _look
    look, _look = _look, None
    if look is not None:
        look()
