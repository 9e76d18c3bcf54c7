"""What pairs of times say: the median of their ratios, and between what bounds the true one lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of pairs, with the bounds of its 95 % confidence interval."""

    median: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval, as a share of the median."""
        return (self.high - self.low) / 2 / self.median


def of_pairs(old: Sequence[float], new: Sequence[float]) -> Ratio:
    """The ratio new / old.

    What slows a machine down slows both of a pair, so each pair has a ratio of its own. The bounds are order
    statistics: they assume nothing of how times are spread, and a pair that was disturbed moves nothing.
    """
    ratios = sorted(second / first for first, second in zip(old, new, strict=True))
    count = len(ratios)
    # So many of the smallest and largest leave out the median of all pairs there could be in 5 % of cases.
    outside = math.floor(count / 2 - 0.98 * math.sqrt(count))
    low, high = (ratios[outside], ratios[-1 - outside]) if outside >= 0 else (ratios[0], ratios[-1])
    middle = count // 2
    median = ratios[middle] if count % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    return Ratio(median, low, high)
