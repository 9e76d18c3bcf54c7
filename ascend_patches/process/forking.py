"""A lock that no other thread holds while this process forks, so that the child begins with a state that is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock, get_ident


class ForkLock:
    """A reentrant lock; ``with`` it. It is held across every fork from ``hold_across_forks`` on."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._held_by = 0
        """The thread that forks and took the lock for it."""
        self._within = 0
        """The thread that is at work under it."""
        self._depth = 0

    @property
    def is_held_here(self) -> bool:
        """Whether this thread is at work under it already, and has come here from the middle of that work."""
        return self._within == get_ident()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        self._within = get_ident()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._within = 0
        self._lock.release()

    def hold_across_forks(self, in_child: Callable[[], object]) -> None:
        """From now on; ``in_child`` is called in every child."""

        def after_in_child() -> None:
            if not self._release():
                # This was registered while another thread forked: the thread that held the lock is not in the child.
                self._lock = RLock()
                self._within = self._depth = 0
            in_child()

        os.register_at_fork(before=self._take, after_in_parent=self._release, after_in_child=after_in_child)

    def _take(self) -> None:
        self._lock.acquire()
        self._held_by = get_ident()

    def _release(self) -> bool:
        """Whether the lock was taken for this fork, and is free now."""
        if self._held_by != get_ident():
            return False
        self._held_by = 0
        self._lock.release()
        return True
