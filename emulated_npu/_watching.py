"""Who is watching the device right now: the open records and traces of each thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Watcher = TypeVar("Watcher")


class _ThreadState(threading.local):
    silent = False


_thread = _ThreadState()


@contextmanager
def silently() -> Iterator[None]:
    """Show no watcher what this thread does while the ``with`` block runs: the device does it by itself."""
    outer, _thread.silent = _thread.silent, True
    try:
        yield
    finally:
        _thread.silent = outer


class Watchers(Generic[Watcher]):
    """The watchers of one kind. ``any`` is a plain attribute, so that an unwatched device pays one look-up."""

    def __init__(self) -> None:
        self.any = False
        self._lock = threading.Lock()
        self._by_thread: dict[int, list[Watcher]] = {}
        self._of_all_threads: list[Watcher] = []

    @contextmanager
    def watching(self, watcher: Watcher, *, all_threads: bool) -> Iterator[Watcher]:
        thread = threading.get_ident()
        with self._lock:
            group = self._of_all_threads if all_threads else self._by_thread.setdefault(thread, [])
            group.append(watcher)
            self.any = True
        try:
            yield watcher
        finally:
            with self._lock:
                # By identity: two empty logs are equal, and only this one is closed.
                group[:] = [other for other in group if other is not watcher]
                if not group and not all_threads:
                    self._by_thread.pop(thread, None)
                self.any = bool(self._by_thread or self._of_all_threads)

    @contextmanager
    def reporting(self) -> Iterator[list[Watcher]]:
        """The watchers that see what the calling thread does, while no other thread reports or leaves."""
        if _thread.silent:
            yield []
            return
        with self._lock:
            yield [*self._by_thread.get(threading.get_ident(), ()), *self._of_all_threads]
