"""Asks two engines the same while one of them has a bad day: its answers are compared, its failures are counted."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import growth, questions
from .comparing import Comparison
from .processes import ENGINE_CORE, FRONT_END, WORKER
from .running import Engine, EngineError
from .storms import Storms

SAMPLES = 240
ROLES = (FRONT_END, ENGINE_CORE, WORKER)
CALM = 3
"""Batches that are asked after each start before anything happens."""
_SHOWN = 20


@dataclass
class Chaos:
    """What a run has found out so far."""

    seed: int
    about: dict[str, Any] = field(default_factory=dict)
    """What the engine as upstream made it says of itself."""
    seconds: float = 0.0
    """How long the patched engine has served, starts left out."""
    comparison: Comparison = field(default_factory=Comparison)
    differences: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    """Requests that the patched engine did not answer although nothing had killed it."""
    asked: int = 0
    """Requests that the patched engine has been asked and has not answered yet."""
    failures: list[str] = field(default_factory=list)
    storms: list[tuple[float, str]] = field(default_factory=list)
    lives: list[dict[str, list[tuple[float, float]]]] = field(default_factory=list)
    """The memory of the patched engine, in MiB over seconds, by start and role."""
    complaints_of_storms: list[str] = field(default_factory=list)

    def growth(self) -> dict[str, float]:
        """By role, how much the process grew in the longest life."""
        found = {}
        for role in ROLES:
            series = [life[role] for life in self.lives if life.get(role)]
            if series:
                found[role] = round(growth.growth(max(series, key=lambda one: one[-1][0] - one[0][0])), 1)
        return found

    def complaints(self) -> list[str]:
        """What speaks against the patches, in words."""
        found = [*self.complaints_of_storms]
        if self.comparison.different:
            found.append(
                f"{self.comparison.different} of {self.comparison.requests} requests were answered differently"
            )
        if self.failed:
            found.append(f"{self.failed} requests failed that upstream answered: {self.failures[0]}")
        if not self.storms:
            found.append("nothing happened to the patched engine, so the run shows nothing")
        return found

    def to_json(self) -> dict[str, Any]:
        compared = self.comparison
        kinds = dict.fromkeys(kind for _, kind in self.storms)
        return {
            **self.about,
            "minutes": round(self.seconds / 60, 1),
            "seed": self.seed,
            "requests": compared.requests,
            "tokens": compared.tokens,
            "equal": compared.equal,
            "ties": compared.ties,
            "different": compared.different,
            "failed": self.failed,
            "starts": len(self.lives),
            "storms": {kind: sum(one == kind for _, one in self.storms) for kind in sorted(kinds)},
            "growth_in_mib": self.growth(),
            "complaints": self.complaints(),
            "differences": self.differences,
            "storms_at": self.storms,
            "memory_in_mib": self.lives,
        }


def chaos(
    upstream: Engine,
    start_patched: Callable[[int], Engine],
    storms: Storms,
    *,
    seconds: float,
    seed: int,
    at_most: float = math.inf,
    every: float = 0.35,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Chaos:
    """Ask both until the patched engine has served for so long, or ``at_most`` seconds are over, starts included.

    ``every`` is how likely something happens after a batch of requests. ``upstream`` need not be ready yet.
    """
    found, chosen, served, end = Chaos(seed), random.Random(seed), 0.0, clock() + at_most
    while found.seconds < seconds and clock() < end:
        storms.choose_settings(chosen)
        life: dict[str, list[tuple[float, float]]] = {}
        found.lives.append(life)
        with start_patched(len(found.lives)) as patched:
            found.about = found.about or upstream.started(progress)
            try:
                patched.started(progress)
                elapsed = _clock_from(served, clock)
                served = _live(
                    found,
                    life,
                    upstream,
                    patched,
                    storms,
                    chosen,
                    seconds,
                    every,
                    progress,
                    elapsed,
                    _before(end, clock),
                )
            except EngineError as error:
                found.failed += found.asked or 1
                found.failures.append(str(error)[-2_000:])
                if len(found.failures) > 3:
                    break
        found.seconds = served
    found.complaints_of_storms = list(storms.complaints)
    return found


def _clock_from(served: float, clock: Callable[[], float]) -> Callable[[], float]:
    """A clock that goes on from what was served before."""
    begun = clock()
    return lambda: served + clock() - begun


def _before(end: float, clock: Callable[[], float]) -> Callable[[], bool]:
    return lambda: clock() < end


def _live(
    found: Chaos,
    life: dict[str, list[tuple[float, float]]],
    upstream: Engine,
    patched: Engine,
    storms: Storms,
    chosen: random.Random,
    seconds: float,
    every: float,
    progress: Callable[[str], None],
    elapsed: Callable[[], float],
    may_go_on: Callable[[], bool],
) -> float:
    """One life of the patched engine, until it is killed or the time is over; returns when it ended."""
    batches, sampled = 0, elapsed()
    while (now := elapsed()) < seconds and may_go_on():
        requests = questions.batch(chosen)
        found.asked = len(requests)
        patched.send(requests)
        upstream.send(requests)
        theirs = upstream.received()
        _compare(found, requests, theirs, patched.received())
        found.asked = 0
        batches += 1
        if now >= sampled:
            sampled = now + seconds / SAMPLES
            _sample(life, now, patched)
        if batches > CALM and chosen.random() < every:
            kind = storms.strike(patched, chosen)
            found.storms.append((round(now, 1), kind))
            progress(f"{now:.0f} of {seconds:.0f} s: {kind}; {found.comparison.requests} requests, {_said(found)}")
            if kind == "worker killed":
                break
    return elapsed()


def _compare(
    found: Chaos, requests: Sequence[questions.Request], one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    for index in found.comparison.add(one, other):
        if len(found.differences) < _SHOWN:
            found.differences.append(
                {"request": requests[index].to_json(), "upstream": one[index], "patched": other[index]}
            )


def _sample(life: dict[str, list[tuple[float, float]]], now: float, engine: Engine) -> None:
    for process in engine.processes():
        if process.role in ROLES:
            life.setdefault(process.role, []).append((round(now, 1), round(process.memory, 1)))


def _said(found: Chaos) -> str:
    return f"{found.comparison.different} different, {found.failed} failed"
