"""The process that ``ascend-patches verify`` runs the checks in: it has what a serving process has."""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import ascend_patches
from ascend_patches.checks import device
from ascend_patches.checks.device import Device
from ascend_patches.commands import verify_carried
from ascend_patches.commands.progress import Tell, teller
from ascend_patches.declaring.carried import is_carried
from ascend_patches.declaring.patch import Patch
from ascend_patches.errors import AscendPatchesError
from ascend_patches.reporting import report
from ascend_patches.starting.this_process import toolkit
from ascend_patches.upstream import distributions
from ascend_patches.upstream.environment import here

MODEL = "model"
"""What stands for a patch's name where all patches are checked together, on a user's model."""
ROUNDS = 7


def main() -> None:
    """Do what the first argument says, as JSON, and leave the result in the file that it names."""
    asked = json.loads(sys.argv[1])
    started, tell = time.monotonic(), teller(asked["tell"])
    try:
        found = verified(asked["names"], asked["emulated"], asked["model"], tell)
    except AscendPatchesError as error:
        found = {"error": str(error)}
    found["seconds"] = round(time.monotonic() - started, 1)
    with open(asked["result"], "w", encoding="utf-8") as stream:
        json.dump(found, stream)
    tell("")
    sys.stdout.flush()
    # Everything is written. What is left would be seconds of taking apart a process that is not needed any more.
    os._exit(0)


def verified(names: list[str], emulated: bool, model: str | None, tell: Tell) -> dict[str, Any]:
    tell("starting")
    with without_collecting():
        on = device.bring(emulated=emulated)
        if model is not None:
            from ascend_patches.checks import checkpoint

            checkpoint.title(model)
        ascend_patches.apply_patches()
        unknown = sorted(set(names) - toolkit.patches.keys())
        if unknown:
            raise AscendPatchesError(f"there is no patch {unknown[0]!r}; known: {', '.join(sorted(toolkit.patches))}")
        tell("importing what the patches change")
        problems = import_targets(status.patch for status in toolkit.patches.values() if status.choice.enabled)
    return {
        **about(on),
        "problems": problems,
        "model": model,
        **_compared(model, on, tell),
    }


@contextmanager
def without_collecting() -> Iterator[None]:
    """What is imported stays: looking through it for garbage again and again is a fifth of an import of vLLM."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def import_targets(patches: Iterable[Patch]) -> list[str]:
    """Import what the patches look at, as far as this release has and needs it; gives what could not be imported."""
    wanted = dict.fromkeys(
        module
        for patch in patches
        if patch.exemption(here) is None
        for variant in patch.variants
        if variant.gate.could_hold(here)
        for module in variant.modules
    )
    problems = []
    for module in filter(distributions.has_module, wanted):
        try:
            importlib.import_module(module)
        except AscendPatchesError:
            raise
        except Exception as error:
            problems.append(f"{module} cannot be imported here: {type(error).__name__}: {error}")
    return problems


def _compared(model: str | None, on: Device, tell: Tell) -> dict[str, Any]:
    from ascend_patches.checks import runner

    status = ascend_patches.status()
    applied = [toolkit.patches[patch["name"]].patch for patch in status["patches"] if patch["state"] == "applied"]
    if model is not None:
        cases, about = _cases_of_model(model)
    else:
        cases, about = runner.cases(applied), {}
    count = len(cases)

    def progress(side: str) -> Callable[[str], None]:
        numbers = iter(range(1, count + 1))
        return lambda case: tell(f"{side} {case}, {next(numbers)} of {count}")

    carried = _carried(applied)
    patched = runner.sides(cases, exact=False, progress=progress("patched"))
    ascend_patches.revert_patches()
    originals = runner.sides(cases, exact=True, progress=progress("upstream"))
    outcomes = [described(outcome) for outcome in runner.compared(cases, originals, patched)]
    if not on.emulated:
        _time(outcomes, originals, patched, tell)
    shown = [
        {
            **{key: patch[key] for key in ("name", "state", "reason", "variant")},
            "checks": bool(toolkit.patches[patch["name"]].patch.checks),
            "carried": carried.get(patch["name"]),
        }
        for patch in status["patches"]
    ]
    return {"patches": shown, **about, "cases": outcomes}


def _carried(applied: Iterable[Patch]) -> dict[str, list[str]]:
    """What is wrong with each carried patch that is applied; an empty list where nothing is."""
    found = {}
    for patch in filter(is_carried, applied):
        live = toolkit.patches[patch.name]
        if live.variant is not None:
            values = ((target, site.replacement) for target, site in live.sites.items())
            found[patch.name] = verify_carried.problems(live.variant, values)
    return found


def _cases_of_model(folder: str) -> tuple[list[Any], dict[str, Any]]:
    from ascend_patches.checks import checkpoint, runner

    read = checkpoint.read(folder)
    return runner.cases_of(MODEL, read.checks()), {"encoder": read.title, "weights": read.weights}


def described(outcome: Any) -> dict[str, Any]:
    """An outcome, ready for JSON."""
    return {
        "patch": outcome.case.patch,
        "case": outcome.case.check.name,
        "dtype": outcome.case.dtype,
        "expected": outcome.expected,
        "bitwise": outcome.bitwise,
        "problem": outcome.problem,
        "original": _side(outcome.original, outcome.original_error),
        "patched": _side(outcome.patched, outcome.patched_error),
    }


def _side(side: Any, error: float | None) -> dict[str, Any]:
    counts = (
        vars(side.counts) if side.counts is not None else dict.fromkeys(("copies", "waits", "kernels", "dispatches"))
    )
    return {"refused": side.refused, "error": error, **counts, "milliseconds": None}


def _time(outcomes: list[dict[str, Any]], originals: list[Any], patched: list[Any], tell: Tell) -> None:
    """The median time of every case on both sides, which take turns, so that what changes meanwhile changes both."""
    sides = {"original": originals, "patched": patched}
    times: dict[str, list[list[float]]] = {side: [[] for _ in outcomes] for side in sides}
    for number in range(ROUNDS):
        for side, made in sides.items():
            tell(f"timing {side}, round {number + 1} of {ROUNDS}")
            (ascend_patches.apply_patches if side == "patched" else ascend_patches.revert_patches)()
            for index, one in enumerate(made):
                if not one.refused:
                    times[side][index].append(_milliseconds(one.again))
    for side, found in times.items():
        for outcome, values in zip(outcomes, found, strict=True):
            if values:
                outcome[side]["milliseconds"] = statistics.median(values)


def _milliseconds(call: Callable[[], object]) -> float:
    import torch

    torch.npu.synchronize()
    begin = time.perf_counter()
    with torch.inference_mode():
        call()
    torch.npu.synchronize()
    return (time.perf_counter() - begin) * 1000


def about(on: Device) -> dict[str, Any]:
    """Where and with what this was found."""
    import torch

    versions = {name: each["version"] for name, each in report.versions(toolkit).items()}
    transformers = here.installed("transformers")
    return {
        "schema": 1,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": vars(on),
        "versions": {
            **versions,
            "torch": torch.__version__,
            "torch-npu": on.torch_npu,
            "transformers": transformers.text if transformers is not None else None,
        },
        "settings": toolkit.settings.file,
        "mode": toolkit.settings.mode,
        "identity": toolkit.identity(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("ASCEND_PATCHES")},
    }


if __name__ == "__main__":
    main()
