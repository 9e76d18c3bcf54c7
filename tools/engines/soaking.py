"""Asks two engines the same for a long time, compares what they answer, and watches the memory of their processes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import growth, questions, states
from .comparing import Comparison
from .processes import ENGINE_CORE, FRONT_END, WORKER
from .running import Engine

SAMPLES = 240
SIDES = ("upstream", "patched")
ROLES = (FRONT_END, ENGINE_CORE, WORKER)
_TOLD = 20
_PROGRESS = 30.0


@dataclass
class Soak:
    """What a run has found out so far."""

    seed: int
    seconds: float = 0.0
    comparison: Comparison = field(default_factory=Comparison)
    differences: list[dict[str, Any]] = field(default_factory=list)
    """The first requests that were answered differently, with both answers."""
    memory: dict[str, dict[str, list[tuple[float, float]]]] = field(
        default_factory=lambda: {side: {} for side in SIDES}
    )
    """MiB over seconds, by side and role."""
    lost: list[str] = field(default_factory=list)
    """Processes that did not live to the end."""
    patches: dict[str, str] = field(default_factory=dict)
    """The state of every patch where the patched engine runs the model, at the end."""

    def complaints(self) -> list[str]:
        """What speaks against the patches, in words."""
        found = list(self.lost)
        if "applied" not in self.patches.values():
            found.append("no patch was on in the engine that was to be patched")
        if self.comparison.different:
            found.append(
                f"{self.comparison.different} of {self.comparison.requests} requests were answered differently"
            )
        for role, samples in self.memory["patched"].items():
            upstream = self.memory["upstream"].get(role, [])
            if growth.grows(samples, upstream):
                found.append(
                    f"the {role} grew by {growth.growth(samples):.0f} MiB once it was warm; "
                    f"unpatched by {growth.growth(upstream):.0f} MiB"
                )
        return found

    def to_json(self) -> dict[str, Any]:
        compared = self.comparison
        return {
            "minutes": round(self.seconds / 60, 1),
            "seed": self.seed,
            "patches": self.patches,
            "requests": compared.requests,
            "tokens": compared.tokens,
            "equal": compared.equal,
            "ties": compared.ties,
            "different": compared.different,
            "largest_difference_of_logprobs": compared.largest,
            "differences": self.differences,
            "growth_in_mib": {
                role: {side: round(growth.growth(self.memory[side][role]), 1) for side in SIDES}
                for role in ROLES
                if all(role in self.memory[side] for side in SIDES)
            },
            "complaints": self.complaints(),
            "memory_in_mib": self.memory,
        }


def soak(
    upstream: Engine,
    patched: Engine,
    *,
    seconds: float,
    seed: int,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Soak:
    """Ask both until the time is over."""
    found, chosen, engines = Soak(seed), random.Random(seed), {"upstream": upstream, "patched": patched}
    at_first = {side: _pids(engine) for side, engine in engines.items()}
    started = clock()
    sampled = told = 0.0
    while found.seconds < seconds:
        requests = questions.batch(chosen)
        for engine in engines.values():
            engine.send(requests)
        _compare(found, requests, *(engine.received() for engine in engines.values()))
        found.seconds = clock() - started
        if found.seconds >= sampled:
            sampled += seconds / SAMPLES
            for side, engine in engines.items():
                _sample(found, side, engine)
        if found.seconds >= told:
            told += _PROGRESS
            progress(f"{found.seconds:.0f} of {seconds:.0f} s: {found.comparison.requests} requests, {_told(found)}")
    for side, engine in engines.items():
        gone = [role for role, pid in at_first[side].items() if _pids(engine).get(role) != pid]
        found.lost += [f"the {role} of the {side} engine is not the process that it was at first" for role in gone]
    of_model = states.of_engine(patched).get(states.runs_the_model(patched), {})
    found.patches = {name: patch["state"] for name, patch in of_model.items()}
    return found


def _compare(
    found: Soak, requests: Sequence[questions.Request], one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    for index in found.comparison.add(one, other):
        if len(found.differences) < _TOLD:
            found.differences.append(
                {"request": requests[index].to_json(), "upstream": one[index], "patched": other[index]}
            )


def _sample(found: Soak, side: str, engine: Engine) -> None:
    for process in engine.processes():
        if process.role in ROLES:
            series = found.memory[side].setdefault(process.role, [])
            series.append((round(found.seconds, 1), round(process.memory, 1)))


def _pids(engine: Engine) -> dict[str, int]:
    return {process.role: process.pid for process in engine.processes() if process.role in ROLES}


def _told(found: Soak) -> str:
    return f"{found.comparison.different} different" if found.comparison.different else "all equal"
