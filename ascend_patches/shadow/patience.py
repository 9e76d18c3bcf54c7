"""How often a target is tried whose calls cannot be compared: seldom, once that has been seen often."""

from __future__ import annotations

_TRIED = 16
_MOST = 10_000


class Patience:
    """Of calls that come to nothing one after the other, the first few are tried, and then fewer and fewer."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._to_skip = 0
        self.reason = ""
        self.for_ever = False

    def skips(self) -> bool:
        """Whether this call is not tried."""
        if self.for_ever:
            return True
        self._to_skip -= 1
        return self._to_skip >= 0

    def came_to_nothing(self, reason: str, for_ever: bool = False) -> None:
        self.reason, self.for_ever = reason, for_ever
        self._in_vain += 1
        if self._in_vain >= _TRIED:
            self._to_skip = min(2 ** (self._in_vain - _TRIED + 4), _MOST)

    def was_compared(self) -> None:
        self._in_vain = self._to_skip = 0
