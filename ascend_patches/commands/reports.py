"""status, list: what the patches do here, and why."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from ascend_patches import catalogue
from ascend_patches.commands import console
from ascend_patches.deciding.foresight import foresee
from ascend_patches.errors import AscendPatchesError, StrictModeError
from ascend_patches.process.toolkit import Toolkit
from ascend_patches.reporting import lifetime, plain_text, report
from ascend_patches.settings import reader
from ascend_patches.starting import start_hook
from ascend_patches.starting.this_process import wired
from ascend_patches.upstream.environment import here


def status(arguments: argparse.Namespace) -> int:
    if arguments.dir is not None:
        return _status_of_directory(arguments.dir, arguments.json)
    data, stopped = gathered(arguments.config)
    if arguments.json:
        print(json.dumps(data, indent=2))
    else:
        _print_status(data)
        for note in data["notes"]:
            print(f"\nnote: {note}")
        if stopped:
            print(f"\nvLLM would not start: {stopped}")
    return 1 if stopped or _something_failed(data) else 0


def gathered(config: str | None) -> tuple[dict[str, Any], str]:
    """What every patch does in this environment, and why vLLM would not start where strict mode says so."""
    toolkit = wired()
    stopped = ""
    try:
        toolkit.activate("ascend-patches status", config=config)
    except StrictModeError as error:
        stopped = str(error)
    data = report.status(toolkit)
    for patch in data["patches"]:
        current = toolkit.patches[patch["name"]]
        if patch["state"] == "waiting":
            foreseen = foresee(current.patch, current.choice, toolkit.where, toolkit.code_lock)
            patch["foreseen"] = {"verdict": foreseen.verdict, "reason": foreseen.reason}
            if foreseen.ineffective and data["mode"] == "strict":
                stopped = stopped or f"strict mode: {patch['name']}: {foreseen.reason}"
    data["notes"] = _without_a_start(toolkit) if data["mode"] != "off" else []
    return data, stopped


def _without_a_start(toolkit: Toolkit) -> list[str]:
    """Patches of packages that vLLM does not import, where nothing starts the toolkit for these."""
    unwaited = start_hook.unwaited(toolkit.registry.roots())
    concerned = {
        name: sorted(tops & set(unwaited))
        for name, status in toolkit.patches.items()
        if status.state != "skipped" and (tops := {module.partition(".")[0] for module in status.patch.modules})
    }
    return [
        f"{name} goes on only where the toolkit is started before {', '.join(packages)} is imported: "
        "run ascend-patches install, or start with ascend-patches run"
        for name, packages in concerned.items()
        if packages
    ]


def list_patches(arguments: argparse.Namespace) -> int:
    known = catalogue.known()
    if arguments.names:
        print("\n".join(sorted(known.patches)))
        return 0
    chosen = reader.load(known.patches, arguments.config)
    rows: list[dict[str, Any]] = []
    for name, patch in sorted(known.patches.items()):
        choice = chosen.choice(patch, here)
        enabled = choice.enabled and chosen.mode != "off"
        rows.append(
            {
                "name": name,
                "summary": patch.summary,
                "default": patch.default,
                "enabled": enabled,
                "reason": choice.reason if chosen.mode != "off" else "everything is switched off",
                "upstream": list(patch.upstream),
                "origin": known.origins[name],
            }
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        shown = [
            [row["name"], _on(row["enabled"]), _on(row["default"]), str(row["summary"]), str(row["origin"])]
            for row in rows
        ]
        print(console.table(["patch", "now", "default", "summary", "from"], shown))
    else:
        print("no patches are known")
    return 0


def _status_of_directory(folder: str, as_json: bool) -> int:
    if not os.path.isdir(folder):
        raise AscendPatchesError(f"{folder}: no such directory; set ASCEND_PATCHES_REPORT_DIR for the server")
    try:
        reports, problems = report.read(folder)
    except OSError as error:
        raise AscendPatchesError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if as_json:
        print(json.dumps({"reports": reports, "problems": problems}, indent=2))
    else:
        rows = [
            [
                f"{data['host']}:{data['pid']}{_life(data)}",
                patch["name"],
                patch["state"],
                patch["variant"] or "-",
                patch["reason"],
            ]
            for data in reports
            for patch in data["patches"]
        ]
        print(console.table(["process", "patch", "state", "variant", "reason"], rows))
        for data in reports:
            for problem in data["problems"]:
                print(f"{plain_text.one_line(data['host'])}:{data['pid']}: {console.indented(problem)}")
        for problem in problems:
            print(console.indented(problem))
        if not reports:
            print(f"no process has left a report in {folder}")
    return 1 if problems or any(map(_something_failed, reports)) else 0


def _life(data: dict[str, Any]) -> str:
    """What is said of a process beside its number, unless it runs; of another host its name says enough."""
    if data["running"] is None:
        return " (another boot or container)" if data["host"] == lifetime.host() else ""
    return "" if data["running"] else " (ended)"


def _print_status(data: dict[str, Any]) -> None:
    found = ", ".join(f"{name} {known['version'] or 'unknown'}" for name, known in data["versions"].items())
    print(console.field("mode", data["mode"]))
    print(console.field("settings", data["settings_file"] or "none found; the declared defaults"))
    print(console.field("versions", found))
    rows = []
    for patch in data["patches"]:
        rows.append([patch["name"], patch["state"], patch["variant"] or "-", reason(patch)])
    if rows:
        print()
        print(console.table(["patch", "state", "variant", "reason"], rows))
    for problem in data["problems"]:
        print(f"\nproblem: {console.indented(problem)}")


_WHEN_IMPORTED = {
    "apply": "would be applied when vLLM imports it",
    "wait": "would go on waiting",
    "skip": "would be skipped when vLLM imports it",
    "fail": "would fail when vLLM imports it",
}


def reason(patch: dict[str, Any]) -> str:
    """Why a patch is in its state; of one that waits, what will become of it."""
    foreseen = patch.get("foreseen")
    return f"{_WHEN_IMPORTED[foreseen['verdict']]}: {foreseen['reason']}" if foreseen else str(patch["reason"])


def _something_failed(data: dict[str, Any]) -> bool:
    return bool(data["problems"]) or any(patch["state"] == "failed" for patch in data["patches"])


def _on(enabled: object) -> str:
    return "on" if enabled else "off"
