"""The state from which random numbers are drawn: the original begins where the replacement began, and moves nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple


class _Source(NamedTuple):
    get: Callable[[], Any]
    set: Callable[[Any], Any]
    same: Callable[[Any, Any], bool]


class RandomState:
    """What every source of random numbers in use would draw next."""

    def __init__(self) -> None:
        self._states: list[tuple[_Source, Any]] = []
        for source in _sources():
            with suppress(Exception):  # a device that is not in use yet has no state
                self._states.append((source, source.get()))

    def restore(self) -> None:
        """Draw the same again; a source that has not moved is left alone."""
        for source, state in self._states:
            with suppress(Exception):
                if not source.same(source.get(), state):
                    source.set(state)


def is_a_source(value: object) -> bool:
    """Whether it is what a module draws its own random numbers from, whose state is kept here."""
    random, numpy = (sys.modules.get(name) for name in ("random", "numpy.random.mtrand"))
    return value is getattr(random, "_inst", random) or value is getattr(numpy, "_rand", numpy)


def _sources() -> list[_Source]:
    found = []
    random, numpy, torch = (sys.modules.get(name) for name in ("random", "numpy.random", "torch"))
    if random is not None and hasattr(random, "setstate"):
        found.append(_Source(random.getstate, random.setstate, lambda one, other: bool(one == other)))
    if numpy is not None and hasattr(numpy, "set_state"):
        found.append(_Source(numpy.get_state, numpy.set_state, _same_of_numpy))
    if torch is not None and hasattr(torch, "set_rng_state"):
        found.append(_Source(torch.get_rng_state, torch.set_rng_state, _same_tensor))
        npu = getattr(torch, "npu", None)
        if npu is not None and hasattr(npu, "set_rng_state") and _is_in_use(npu):
            found.append(_Source(npu.get_rng_state, npu.set_rng_state, _same_tensor))
    return found


def _same_of_numpy(one: Any, other: Any) -> bool:
    return bool(one[0] == other[0] and one[2:] == other[2:] and (one[1] == other[1]).all())


def _same_tensor(one: Any, other: Any) -> bool:
    return bool((one == other).all())


def _is_in_use(npu: Any) -> bool:
    return bool(getattr(npu, "is_initialized", lambda: False)())
