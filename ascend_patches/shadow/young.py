"""Frees what a compared call leaves behind as soon as it ends: copies of objects that lead back to themselves.

A layer that holds a bound method of itself is such an object. Its copies hold tensors, and Python's collector decides
by the number of objects when it looks at them: gigabytes may wait for it. So it does not run on its own while a call is
compared, which keeps the copies in its youngest generation, and that one alone is collected at the end. Nothing is
taken apart by hand: what the original has passed on to others lives on.
"""

from __future__ import annotations

import gc
import os
from threading import RLock, get_ident

_MOST_ENDED = 16


class YoungGarbage:
    """``with`` it around a compared call, outside of all frames that hold copies."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._inside: dict[int, int] = {}
        """How deep each thread is in calls that are compared."""
        self._ended = 0
        """Calls since there was last a moment without one."""
        self._threshold = 0
        """How many new objects the collector waits for when it is not kept waiting by us; 0 while it is not."""
        os.register_at_fork(after_in_child=self._after_fork)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside and not self._threshold:
                # Not switched off: whether it is on is for the call itself to ask and to change.
                self._threshold = gc.get_threshold()[0]
                gc.set_threshold(0, *gc.get_threshold()[1:])
            thread = get_ident()
            self._inside[thread] = self._inside.get(thread, 0) + 1

    def __exit__(self, *_: object) -> None:
        oldest = self._leave()
        # Without the lock: finalizers of anything may run.
        if oldest is not None:
            gc.collect(oldest)

    def _leave(self) -> int | None:
        """The oldest generation that is to be collected now."""
        with self._lock:
            thread = get_ident()
            self._inside[thread] -= 1
            if self._inside[thread]:
                return None
            del self._inside[thread]
            if not self._inside:
                self._ended = 0
                self._resume()
                return 0
            self._ended += 1
            if self._ended < _MOST_ENDED:
                return None
            # Calls of several threads overlap without an end: what the collector has seen before is garbage now.
            self._ended = 0
            return 2

    def _resume(self) -> None:
        threshold, self._threshold = self._threshold, 0
        now, *older = gc.get_threshold()
        if threshold and not now:  # what the call has chosen for itself stays
            gc.set_threshold(threshold, *older)

    def _after_fork(self) -> None:
        """Only the thread that forked is in the child."""
        self._lock = RLock()
        thread = get_ident()
        self._inside = {thread: self._inside[thread]} if thread in self._inside else {}
        if not self._inside:
            self._resume()


YOUNG_GARBAGE = YoungGarbage()
