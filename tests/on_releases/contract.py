"""Run on one release: what every patch has to keep, whatever it does. Prints one JSON object.

contract.py deployed   the toolkit was started with the interpreter, as in a deployment; then it is undone
contract.py called     everything is imported and used before the toolkit is activated by a call; then it is undone
"""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType
from typing import Any

import torch

from ascend_patches.checks import device, runner
from ascend_patches.commands import verify_process as process
from ascend_patches.declaring.registry import Registry
from ascend_patches.patches import PATCHES

Snapshot = dict[tuple[str, str], Any]


def main() -> None:
    with process.without_collecting():
        device.bring(emulated=True)
    found = {"deployed": deployed, "called": called}[sys.argv[1]]()
    print(json.dumps(found), flush=True)
    # Nothing is left to be done, and taking apart all that was imported takes a while.
    os._exit(0)


def deployed() -> dict[str, Any]:
    with process.without_collecting():
        problems = process.import_targets(PATCHES)
    import ascend_patches

    status = ascend_patches.status()
    cases = cases_of_applied(status)
    patched = runner.sides(cases, exact=False)
    # Not earlier: the first checks import and set up what they need.
    with_patches = snapshot()
    ascend_patches.revert_patches()
    changed = differences(with_patches, snapshot())
    return {
        **outcome(status, changed, problems),
        "cases": described(cases, runner.sides(cases, exact=True), patched),
    }


def called() -> dict[str, Any]:
    with process.without_collecting():
        problems = process.import_targets(PATCHES)
    cases = runner.cases(PATCHES)
    unpatched = runner.sides(cases, exact=True)
    before = snapshot()
    import ascend_patches

    status = ascend_patches.apply_patches()
    changed = differences(before, snapshot())
    patched = runner.sides(cases, exact=False)
    ascend_patches.revert_patches()
    left_behind = differences(before, snapshot())
    undone = described(cases, unpatched, runner.sides(cases, exact=False))
    return {
        **outcome(status, changed, problems),
        "cases": described(cases, unpatched, patched),
        "left_behind": left_behind,
        "different_after_undo": [case for case in undone if not case["bitwise"] and not case["original"]["refused"]],
    }


def outcome(status: dict[str, Any], changed: list[str], problems: list[str]) -> dict[str, Any]:
    import ascend_patches

    after = [patch["state"] for patch in ascend_patches.status()["patches"]]
    return {"status": status, "changed": changed, "after_undo": after, "cannot_be_imported": problems}


def cases_of_applied(status: dict[str, Any]) -> list[runner.Case]:
    applied = {patch["name"] for patch in status["patches"] if patch["state"] == "applied"}
    return runner.cases(patch for patch in PATCHES if patch.name in applied)


def described(cases: list[runner.Case], originals: list[runner.Side], patched: list[runner.Side]) -> list[Any]:
    """What verify reports of the cases, and whether upstream is as near to float64 as they take it to be."""
    outcomes = runner.compared(cases, originals, patched)
    return [
        {
            **process.described(outcome),
            "upstream_as_declared": outcome.expected == "mended"
            or (outcome.original_error or 0.0) <= allowed(outcome.case),
        }
        for outcome in outcomes
    ]


def allowed(case: runner.Case) -> float:
    return case.check.tolerance.of(getattr(torch, case.dtype))


def snapshot() -> Snapshot:
    """Every attribute of every upstream module and of the classes written in it."""
    found: Snapshot = {}
    roots = Registry(PATCHES).roots()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in roots and isinstance(module, ModuleType):
            for key, value in list(module.__dict__.items()):
                found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    add_class(found, name, key, value)
    return found


def add_class(found: Snapshot, module: str, path: str, cls: type) -> None:
    for key, value in list(cls.__dict__.items()):
        found[module, f"{path}.{key}"] = value
        if isinstance(value, type) and value.__qualname__.startswith(f"{cls.__qualname__}."):
            add_class(found, module, f"{path}.{key}", value)


# What Python and torch themselves write into classes and modules while they are used.
_OF_PYTHON = ("__abstractmethods__", "_abc_impl", "__warningregistry__", "__annotations_cache__")


# Where the toolkit reads settings that vLLM hands to its processes; it goes on listening when patches are undone.
_LISTENED_TO = ("set_current_vllm_config", "__post_init__")


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    return sorted(
        f"{module}:{path}"
        for module, path in before.keys() | after.keys()
        if path.rpartition(".")[2] not in (*_OF_PYTHON, *_LISTENED_TO)
        and before.get((module, path), before) is not after.get((module, path), after)
    )


if __name__ == "__main__":
    main()
