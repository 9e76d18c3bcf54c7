"""Runs both sides of a comparison by turns, and says what they took."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from releases import runner
from releases.pairs import Pair
from releases.store import Store

from ascend_patches.commands.side_process import SideProcess
from ascend_patches.commands.turn_times import SIDES, Comparison, Time

from . import estimate, pictures

REPOSITORY = Path(__file__).resolve().parents[2]
FORWARDS = 3
"""Timed in a turn, after one that is not: what the other side left in the processor's caches is gone by then."""
WARM = 4


def keep_to_one_core() -> None:
    """Keep this process, and the sides that it starts, on one core: on two, what else runs there is not the same."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def side_of(side: str, pair: Pair, store: Store, *, patched: bool, enable: Sequence[str] = ()) -> SideProcess:
    """A side's process, in which the release is seen and, patched, some patches more than those that are on."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
    environ = runner.environment(pair, store, environ, without=["emulated_npu"])
    # One seed of hashes: else dictionaries of the two sides would lie differently.
    environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    if enable:
        environ["ASCEND_PATCHES_ENABLE"] = ",".join(enable)
    script = str(REPOSITORY / "tools" / "host_time" / "side.py")
    return SideProcess(side, [store.interpreter.executable, script, "patched" if patched else "upstream"], environ)


@dataclass(frozen=True)
class Effort:
    """When a comparison has taken turns enough."""

    most_turns: int
    within: float = 0.015
    """As soon as half of the ratio's interval is not wider than this share of it."""
    seconds: float = math.inf
    """Or when so much time is gone, with a few turns at least."""

    def enough(self, taken: dict[str, list[float]], turns: int, started: float) -> bool:
        if turns >= self.most_turns:
            return True
        if turns < estimate.LEAST_PAIRS // 2:
            return False
        late = time.monotonic() - started > self.seconds
        return late or (turns >= estimate.LEAST_PAIRS and _ratio(taken).half_width <= self.within)


class Release:
    """Both sides of one release."""

    def __init__(
        self, pair: Pair, store: Store, layers: int, *, same: bool = False, enable: Sequence[str] = ()
    ) -> None:
        self.layers = layers
        patched = {side: side == "patched" and not same for side in SIDES}
        self.sides = {side: side_of(side, pair, store, patched=patched[side], enable=enable) for side in SIDES}
        for process in self.sides.values():
            process.tell("start")
        answers = [process.answer() for process in self.sides.values()]
        self.there: list[str] = answers[0]["there"]

    def __enter__(self) -> Release:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.sides.values():
            process.close()

    def make(self, encoder: str) -> dict[str, str]:
        """Make the encoder on both sides; gives the states of the patches."""
        for process in self.sides.values():
            process.tell("make", encoder=encoder, layers=[self.layers, self.layers // 3])
        states: dict[str, str] = [process.answer() for process in self.sides.values()][-1]["states"]
        return states

    def compare(self, images: int, effort: Effort, *, video: bool = False, new: bool = False) -> Comparison:
        """Time forwards of both sides by turns."""
        started = time.monotonic()
        known = pictures.repeated(images, video=video)
        for process in self.sides.values():
            process.tell("warm", layers=self.layers, grids=[known] * WARM)
        for process in self.sides.values():
            process.answer()
        taken: dict[str, list[float]] = {side: [] for side in SIDES}
        turn = 0
        while not effort.enough(taken, turn, started):
            grids = [
                pictures.new(images, turn * (FORWARDS + 1) + index, video=video) if new else known
                for index in range(FORWARDS + 1)
            ]
            for side in SIDES if turn % 2 else SIDES[::-1]:
                times = self.sides[side].ask("run", layers=self.layers, grids=grids)[1:]
                # Noise only adds: of forwards that are the same the fastest is the truest.
                taken[side].append((sum(times) / len(times) if new else min(times)) / 1000)
            turn += 1
        ratio = _ratio(taken)
        upstream, patched = (Time.of(taken[side]) for side in SIDES)
        return Comparison(upstream, patched, ratio.median, ratio.low, ratio.high, turn)

    def count(self, images: int, *, video: bool = False) -> dict[str, Any]:
        """What a repeated forward does, by side."""
        grids = pictures.repeated(images, video=video)
        return {side: process.ask("count", layers=self.layers, grids=grids) for side, process in self.sides.items()}

    def cost(self, launch_us: float, wait_us: float) -> None:
        """Let every kernel and every wait take this much more on both sides."""
        for process in self.sides.values():
            process.ask("cost", launch_us=launch_us, wait_us=wait_us)

    def block(self, turns: int) -> dict[str, dict[str, float]]:
        """By side, the microseconds that one more block adds to a forward, and what its kernels alone add."""
        grids, lengths = pictures.repeated(1), (self.layers // 3, self.layers)
        found: dict[str, dict[str, float]] = {}
        added: dict[str, list[float]] = {side: [] for side in SIDES}
        for process in self.sides.values():
            for layers in lengths:
                process.ask("warm", layers=layers, grids=[grids] * WARM)
        for _ in range(turns):
            for side, process in self.sides.items():
                short, long = (
                    min(process.ask("run", layers=layers, grids=[grids] * (FORWARDS + 1))[1:]) for layers in lengths
                )
                added[side].append((long - short) / 1000)
        for side, process in self.sides.items():
            short, long = (process.ask("floor", layers=layers, grids=grids) for layers in lengths)
            blocks = lengths[1] - lengths[0]
            found[side] = {"block": statistics.median(added[side]) / blocks, "floor": (long - short) / blocks}
        return found

    def profiles(self, images: int, forwards: int, *, video: bool = False) -> dict[str, Any]:
        """By side, whose code the time is spent in."""
        grids = pictures.repeated(images, video=video)
        return {
            side: process.ask("profile", layers=self.layers, grids=grids, forwards=forwards)
            for side, process in self.sides.items()
        }


def _ratio(taken: dict[str, list[float]]) -> estimate.Ratio:
    return estimate.of_pairs(*(taken[side] for side in SIDES))


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
