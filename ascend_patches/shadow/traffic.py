"""Which threads are inside the calls of one patch, so that what one of them does is not taken for another's work."""

from __future__ import annotations

from threading import get_ident


class Traffic:
    """Calls by thread. Each thread writes its own entries only, and no lock is taken."""

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}
        self._entered: dict[int, int] = {}

    def enter(self) -> None:
        thread = get_ident()
        self._inside[thread] = self._inside.get(thread, 0) + 1
        self._entered[thread] = self._entered.get(thread, 0) + 1

    def leave(self) -> None:
        thread = get_ident()
        left = self._inside[thread] - 1
        if left:
            self._inside[thread] = left
        else:
            # A thread that ends leaves nothing behind but a number.
            del self._inside[thread]

    def seen_from_here(self) -> tuple[bool, dict[int, int]]:
        """Whether another thread is inside, and how often each has entered."""
        thread = get_ident()
        others = {each: count for each, count in list(self._entered.items()) if each != thread}
        return any(each != thread for each in list(self._inside)), others
