"""Whether a process grows: memory sampled over time, judged once it has warmed up."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

WARMING_UP = 0.4
"""The share of a run in which caches fill and allocators find their size."""
ALLOWED = 16.0
"""MiB that memory may wander within the rest of a run; a leak of 2 KiB per request passes it within 10,000 requests."""

Samples = Sequence[tuple[float, float]]
"""Seconds since the start, and MiB."""


def growth(samples: Samples) -> float:
    """By how many MiB a process has grown since it was warm, by the median of all slopes: no single peak decides."""
    judged = warm(samples)
    slopes = [
        (later - sooner) / (after - before)
        for index, (before, sooner) in enumerate(judged)
        for after, later in judged[index + 1 :]
    ]
    return median(slopes) * (judged[-1][0] - judged[0][0]) if slopes else 0.0


def warm(samples: Samples) -> Samples:
    """The samples that are judged."""
    if not samples:
        return samples
    begin = samples[0][0] + WARMING_UP * (samples[-1][0] - samples[0][0])
    return [sample for sample in samples if sample[0] >= begin]


def grows(patched: Samples, upstream: Samples) -> bool:
    """Whether a patched process grows by more than the same one of an unpatched engine does under the same load."""
    return growth(patched) - max(growth(upstream), 0.0) > ALLOWED
