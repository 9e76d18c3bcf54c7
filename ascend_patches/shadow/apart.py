"""What a shadow run must neither see nor change: state that is kept for the call it shadows, by whoever keeps some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

_WAYS: list[Callable[[], AbstractContextManager[object]]] = []


def keep_apart(way: Callable[[], AbstractContextManager[object]]) -> None:
    """Have every shadow run go on within ``way()``, which puts a thread's state aside and back again."""
    _WAYS.append(way)


@contextmanager
def apart() -> Iterator[None]:
    """Around a shadow run."""
    with ExitStack() as ways:
        for way in _WAYS:
            ways.enter_context(way())
        yield
