"""What cannot be done at once is tried again, beside the process's own work, until it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Attempt = Callable[[], bool]
"""Tries; says whether there is nothing left to try."""

_SHORTEST, _LONGEST = 0.001, 0.25


class Settler:
    """A thread that exists only while something is left to be done."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def until_done(self, name: str, attempt: Attempt) -> None:
        """Try until it succeeds; a newer attempt of the same name takes the place of an older one."""
        with self._lock:
            self._attempts[name] = attempt
            if self._thread is None:
                self._thread = threading.Thread(target=self._try_all, name="ascend_patches", daemon=True)
                self._thread.start()

    def after_fork(self) -> None:
        """The child has none of its parent's threads."""
        self._lock, self._thread = threading.RLock(), None
        for name, attempt in list(self._attempts.items()):
            self.until_done(name, attempt)

    def _try_all(self) -> None:
        pause = _SHORTEST
        while True:
            time.sleep(pause)
            pause = min(pause * 1.2, _LONGEST)
            for name, attempt in list(self._attempts.items()):
                if _is_done(attempt):
                    with self._lock:
                        if self._attempts.get(name) is attempt:
                            del self._attempts[name]
            with self._lock:
                if not self._attempts:
                    self._thread = None
                    return


def _is_done(attempt: Attempt) -> bool:
    try:
        return attempt()
    except Exception:  # strict mode stops an import, and here is none; the state of the patch says what happened
        return True
