"""Which calls are compared: the same ones in every process, the first among them, and in time those of every layer."""

from __future__ import annotations

from itertools import count

_BITS = 64
# The fractional part of the golden ratio, of which no multiple falls into step with anything: where every hundredth
# call is taken, the layers of a model with fifty of them are always the same two.
_STEP = 0x9E3779B97F4A7C15
_FRACTION = (1 << _BITS) - 1


class Chosen:
    """Tells, call by call, whether this one is among the share."""

    __slots__ = ("_below", "_places")

    def __init__(self, share: float) -> None:
        self._below = round(share * (1 << _BITS))
        # One call of C, which threads cannot come between.
        self._places = count(0, _STEP)

    def __call__(self) -> bool:
        return next(self._places) & _FRACTION < self._below
