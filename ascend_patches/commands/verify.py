"""verify: upstream's results and the patched ones, side by side, on this machine's device."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ascend_patches import catalogue
from ascend_patches.commands import console
from ascend_patches.commands.names import patch_named
from ascend_patches.errors import AscendPatchesError

_COUNTED = ("copies", "waits", "kernels", "dispatches")
_MEANING = (
    "Per dtype the largest error from float64, as a share of the largest value, of upstream -> patched; `same` where "
    "every bit is upstream's. Counts are of one call, of the last dtype, upstream -> patched."
)


def verify(arguments: argparse.Namespace) -> int:
    known = catalogue.known()
    for name in arguments.names:
        patch_named(name, known)
    if arguments.model is not None:
        folder_of_model(arguments.model)
    found = _in_a_process(arguments)
    if "error" in found:
        raise AscendPatchesError(found["error"])
    found["differences"] = differences(found, arguments.names)
    if arguments.names:  # of the others nothing was asked
        found["patches"] = [patch for patch in found["patches"] if patch["name"] in arguments.names]
    if arguments.report is not None:
        _write(arguments.report, json.dumps(found, indent=2) + "\n")
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_lines(found)))
    return 1 if found["differences"] else 0


def folder_of_model(given: str) -> str:
    """The folder that --model names, as every process finds it."""
    if not os.path.isdir(given):
        raise AscendPatchesError(f"--model {given}: no such folder; name the folder of a checkpoint")
    return os.path.abspath(given)


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AscendPatchesError(f"--report {file}: cannot be written: {reason}") from None


def differences(found: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Everything that keeps the result from being fine, in words."""
    said = [
        f"{case['patch']}: {case['case']}, {case['dtype']}: {case['problem']}"
        for case in found["cases"]
        if case["problem"]
    ]
    for patch in found["patches"]:
        name = patch["name"]
        if patch["state"] == "failed" or (name in names and patch["state"] != "applied"):
            said.append(f"{name} is {patch['state']} and was not verified: {patch['reason']}")
        elif patch["state"] == "applied" and patch.get("carried") is not None:
            said += [f"{name}: {problem}" for problem in patch["carried"]]
        elif patch["state"] == "applied" and not patch["checks"]:
            said.append(f"{name} is applied and declares no checks: nothing is known of its results")
    in_place = any(patch.get("carried") is not None for patch in found["patches"])
    if not found["cases"] and not said and not in_place:
        said.append(f"nothing was verified: no patch with a case for this release is on (mode {found['mode']})")
    return said


def _in_a_process(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the checks found, in a process of their own: this one may have a toolkit that is on already."""
    with tempfile.TemporaryDirectory(prefix="ascend-patches-verify-") as folder:
        result, log = Path(folder, "result.json"), Path(folder, "log")
        tell = os.dup(2)
        try:
            asked = {
                "names": arguments.names,
                "emulated": arguments.emulated,
                "model": folder_of_model(arguments.model) if arguments.model is not None else None,
                "result": str(result),
                "tell": tell,
            }
            with log.open("w", encoding="utf-8") as said:
                code = subprocess.run(
                    [sys.executable, "-m", "ascend_patches.commands.verify_process", json.dumps(asked)],
                    env=environment(arguments) | {"TMPDIR": folder},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=(tell,),
                ).returncode
        finally:
            os.close(tell)
        try:
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            last = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise AscendPatchesError(
                f"the process that runs the checks ended with {code}; it last said:\n{last}"
            ) from None
    return found


def environment(arguments: argparse.Namespace) -> dict[str, str]:
    """The variables of a process that verifies or measures the patches that were asked for."""
    environ = dict(os.environ)
    # Its layers are to be an NPU's on the emulated device, and its results are not part of any report.
    for name in ("EMULATED_NPU", "ASCEND_PATCHES_REPORT_DIR"):
        environ.pop(name, None)
    # A shadow would run the original within the patched call.
    environ["ASCEND_PATCHES_SHADOW"] = "0"
    if arguments.config is not None:
        environ["ASCEND_PATCHES_CONFIG"] = os.path.abspath(arguments.config)
    if arguments.names:
        environ |= {"ASCEND_PATCHES_DISABLE": "all", "ASCEND_PATCHES_ENABLE": ",".join(arguments.names)}
    return environ


def _lines(found: dict[str, Any]) -> Iterator[str]:
    device, versions = found["device"], found["versions"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("vllm", "vllm-ascend", "torch", "torch-npu") if versions.get(name)
    )
    yield f"{device['name']}; {shown}"
    if found["model"] is not None:
        yield f"{found['model']}: the vision encoder of {found['encoder']}; its weights are {found['weights']}"
    for problem in found["problems"]:
        yield f"note: {problem}"
    if found["cases"]:
        yield _MEANING
    variants = {patch["name"]: patch["variant"] for patch in found["patches"]}
    for patch, cases in groupby(found["cases"], key=lambda case: str(case["patch"])):
        yield ""
        yield f"{patch} ({variants[patch]})" if variants.get(patch) else "all patches that are on"
        yield _table(list(cases))
    yield ""
    with_cases = {case["patch"] for case in found["cases"]}
    for patch in found["patches"]:
        if patch["state"] != "applied":
            yield f"{patch['name']}: not verified, because it is {patch['state']}: {patch['reason']}"
        elif patch.get("carried") == []:
            yield (
                f"{patch['name']}: carried from upstream, in place, and every name that it uses is there. What it "
                "computes is not compared: its README names the change's own tests"
            )
        elif patch.get("carried") is None and patch["name"] not in with_cases and found["model"] is None:
            yield f"{patch['name']}: applied; its checks have no case for this release"
    yield ""
    for difference in found["differences"]:
        yield f"DIFFERENT: {difference}"
    cases_text = f"{len(found['cases'])} cases, {found['seconds']:.0f} s"
    yield (
        f"{len(found['differences'])} differences; {cases_text}"
        if found["differences"]
        else f"no difference; {cases_text}"
    )


def _table(cases: list[dict[str, Any]]) -> str:
    """One line for a case, whatever number of dtypes it has."""
    dtypes = tuple(dict.fromkeys(case["dtype"] for case in cases))
    counted = any(case["patched"]["copies"] is not None for case in cases)
    timed = any(case["patched"]["milliseconds"] is not None for case in cases)
    headings = ("case", *dtypes, *(_COUNTED if counted else ()), *(("ms",) if timed else ()), "")
    rows = []
    for name, group in groupby(cases, key=lambda case: str(case["case"])):
        of_case = {case["dtype"]: case for case in group}
        last = list(of_case.values())[-1]
        row = [name, *(_result(of_case[dtype]) if dtype in of_case else "" for dtype in dtypes)]
        row += [_both(last, what) for what in _COUNTED] if counted else []
        row += [_both(last, "milliseconds", ".3f")] if timed else []
        rows.append([*row, "DIFFERENT" if any(case["problem"] for case in of_case.values()) else ""])
    return console.table(headings, rows)


def _result(case: dict[str, Any]) -> str:
    original, patched = (_error(case[side]) for side in ("original", "patched"))
    if case["bitwise"]:
        return "same" if original == "-" else f"same, {original}"
    return "other" if original == patched == "-" else f"{original} -> {patched}"


def _both(case: dict[str, Any], what: str, form: str = "") -> str:
    original, patched = (_number(case[side].get(what), form) for side in ("original", "patched"))
    return f"{original} -> {patched}"


def _error(side: dict[str, Any]) -> str:
    return "refused" if side["refused"] else _number(side["error"], ".0e")


def _number(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)
