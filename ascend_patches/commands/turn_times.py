"""What two sides that take turns need for the same work, and how far one is from the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ascend_patches.commands.pair_ratio import of_pairs

SIDES = ("upstream", "patched")


@dataclass(frozen=True)
class Time:
    """Microseconds of one forward on one side: the median of all turns, and the quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Time:
        low, median, high = _quartiles(values)
        return cls(median, low, high)


@dataclass(frozen=True)
class Comparison:
    """What one forward of an encoder takes upstream and patched."""

    upstream: Time
    patched: Time
    ratio: float
    """The median of what the turns' pairs had: what else the machine did was done to both of a pair."""
    ratio_low: float
    ratio_high: float
    """The bounds of its 95 % confidence interval; of fewer than eight turns, the smallest and the largest of all."""
    turns: int

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def by_turns(take: Callable[[str, int], Sequence[float]], turns: int) -> list[Comparison]:
    """Compare what each side takes: of a side and the turn's number the microseconds, one or several kinds of them.

    The side that comes first changes with every turn.
    """
    taken: dict[str, list[Sequence[float]]] = {side: [] for side in SIDES}
    for turn in range(turns):
        for side in SIDES if turn % 2 else SIDES[::-1]:
            taken[side].append(take(side, turn))
    kinds = (list(zip(*taken[side], strict=True)) for side in SIDES)
    return [_compared(*each) for each in zip(*kinds, strict=True)]


def _compared(upstream: Sequence[float], patched: Sequence[float]) -> Comparison:
    ratio = of_pairs(upstream, patched)
    return Comparison(Time.of(upstream), Time.of(patched), ratio.median, ratio.low, ratio.high, len(upstream))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
