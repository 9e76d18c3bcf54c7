"""Isolates shadow runs: state that other modules keep for the call is saved before one and restored after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

_FACTORIES: list[Callable[[], AbstractContextManager[object]]] = []


def isolate(factory: Callable[[], AbstractContextManager[object]]) -> None:
    """Save and restore per-call state around every shadow run: each runs within ``factory()``."""
    _FACTORIES.append(factory)


@contextmanager
def apart() -> Iterator[None]:
    """Around a shadow run."""
    with ExitStack() as stack:
        for factory in _FACTORIES:
            stack.enter_context(factory())
        yield
