"""bench: what a forward of a model's vision encoder takes on this machine, upstream and patched by turns."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

from ascend_patches import catalogue
from ascend_patches.commands import console
from ascend_patches.commands.names import patch_named
from ascend_patches.commands.progress import Tell, teller
from ascend_patches.commands.side_process import SideProcess
from ascend_patches.commands.turn_times import SIDES, by_turns
from ascend_patches.commands.verify import environment, folder_of_model
from ascend_patches.errors import AscendPatchesError, UsageError

FORWARDS = 3
"""Timed in a turn, after one that is not: what the other side left in the processor's caches is gone by then."""
_MOST_IMAGES, _MOST_FRAMES, _MOST_PIXELS, _MOST_TURNS = 1024, 1024, 16384, 100_000
_MEANING = {
    False: (
        "On this NPU. `host` is the time until the call returned, `forward` until the device was done as well. "
        "The text model, and what a server does around it, are not in it."
    ),
    True: (
        "No NPU here: `host` is the time of the host alone, on a device that does nothing. What kernels take, and how "
        "long the host stands still for them, is not in it; the same command on an NPU measures both."
    ),
}


def bench(arguments: argparse.Namespace) -> int:
    known = catalogue.known()
    for name in arguments.names:
        patch_named(name, known)
    inputs, model = _inputs(arguments), folder_of_model(arguments.model)
    found = _measured(arguments, inputs, model)
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(_lines(found)))
    return 0


def _inputs(arguments: argparse.Namespace) -> list[dict[str, int]]:
    """What a forward is given, one after the other."""
    size = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", arguments.size, re.ASCII)
    if size is None or not all(1 <= int(side) <= _MOST_PIXELS for side in size.groups()):
        raise UsageError(f"--size {arguments.size}: write it as 448x448, in pixels, each at most {_MOST_PIXELS}")
    _within("--turns", [arguments.turns], 1, _MOST_TURNS)
    _within("--images", arguments.images, 1, _MOST_IMAGES)
    _within("--frames", [arguments.frames], 0, _MOST_FRAMES)
    pixels = {"width": int(size[1]), "height": int(size[2])}
    images = [{"pictures": count, "frames": 1, **pixels} for count in dict.fromkeys(arguments.images)]
    return images + ([{"pictures": 1, "frames": arguments.frames, **pixels}] if arguments.frames else [])


def _within(option: str, values: list[int], least: int, most: int) -> None:
    for value in values:
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: it is a number from {least} to {most}")


def _measured(arguments: argparse.Namespace, inputs: list[dict[str, int]], model: str) -> dict[str, Any]:
    started, tell = time.monotonic(), teller(os.dup(2))
    command = [sys.executable, "-m", "ascend_patches.commands.bench_process"]
    with ExitStack() as open_processes:
        tell("starting both sides")
        sides = {
            side: open_processes.enter_context(
                closing(SideProcess(side, [*command, side], _environment_of(side, arguments)))
            )
            for side in SIDES
        }
        encoder = _of_both(sides, "start", model=model)
        measured = [_compared(sides, each, arguments.turns, tell) for each in inputs]
        about = sides["patched"].ask("about")
    tell("")
    _require_applied(about["patches"], arguments.names)
    return {
        **about,
        "model": model,
        **encoder,
        "turns": arguments.turns,
        "inputs": measured,
        "seconds": round(time.monotonic() - started, 1),
    }


def _require_applied(patches: list[dict[str, str]], names: list[str]) -> None:
    """Refuse times of a patched side that is not patched, or not by a patch that was asked for."""
    said = {patch["name"]: f"{patch['name']} is {patch['state']}: {patch['reason']}" for patch in patches}
    applied = {patch["name"] for patch in patches if patch["state"] == "applied"}
    missing = [said.get(name, f"{name} is not known there") for name in names if name not in applied]
    if missing:
        raise AscendPatchesError(f"not applied, so there is nothing to compare: {'; '.join(missing)}")
    if not applied:
        raise AscendPatchesError(f"no patch is applied, so there is nothing to compare: {'; '.join(said.values())}")


def _environment_of(side: str, arguments: argparse.Namespace) -> dict[str, str]:
    environ = environment(arguments)
    # One seed of hashes: else dictionaries of the two sides would lie differently.
    environ |= {"PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1"}
    environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    return environ | ({"ASCEND_PATCHES": "off"} if side == "upstream" else {})


def _of_both(sides: Mapping[str, SideProcess], do: str, **words: Any) -> Any:
    """Let both do the same at the same time; gives the answer of the last."""
    for process in sides.values():
        process.tell(do, **words)
    return [process.answer() for process in sides.values()][-1]


def _compared(sides: Mapping[str, SideProcess], given: dict[str, int], turns: int, tell: Tell) -> dict[str, Any]:
    warmed = _of_both(sides, "warm", **given)
    pairs = iter(range(1, 2 * turns + 1))

    def take(side: str, turn: int) -> list[float]:
        tell(f"{_name(given)}: {side}, {next(pairs)} of {2 * turns}")
        forwards = sides[side].ask("run", forwards=FORWARDS + 1)[1:]
        return [statistics.median(kind) for kind in zip(*forwards, strict=True)]

    kinds = zip(("host", "forward"), by_turns(take, turns), strict=False)
    return {**given, **warmed, "microseconds": {kind: compared.as_data() for kind, compared in kinds}}


def _name(given: dict[str, int]) -> str:
    size = f"{given['width']}x{given['height']}"
    if given["frames"] > 1:
        return f"a video of {given['frames']} frames, {size}"
    return f"{given['pictures']} image{'s' if given['pictures'] > 1 else ''}, {size}"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    versions = found["versions"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("vllm", "vllm-ascend", "torch", "torch-npu") if versions.get(name)
    )
    yield f"{found['device']['name']}; {shown}"
    yield (
        f"{found['model']}: the vision encoder of {found['encoder']}, {found['dtype']}; its weights are "
        f"{found['weights']}"
    )
    yield f"applied: {', '.join(patch['name'] for patch in found['patches'] if patch['state'] == 'applied')}"
    yield ""
    rows = []
    for each in found["inputs"]:
        for kind, compared in each["microseconds"].items():
            ratio = f"{compared['ratio']:.2f} ({compared['ratio_low']:.2f} to {compared['ratio_high']:.2f})"
            rows.append([_name(each), kind, *(_milliseconds(compared[side]) for side in SIDES), ratio])
    yield console.table(("input", "time", "upstream, ms", "patched, ms", "patched / upstream"), rows)
    yield ""
    yield (
        f"Medians of {found['turns']} turns of each side, and the quartiles. Both sides are processes that take turns; "
        "the ratio is the median of their pairs, and its bounds those of the 95 % confidence interval."
    )
    yield _MEANING[found["device"]["emulated"]]


def _milliseconds(taken: dict[str, float]) -> str:
    return f"{taken['median'] / 1000:.2f} ({taken['low'] / 1000:.2f} to {taken['high'] / 1000:.2f})"
