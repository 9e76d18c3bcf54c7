"""status, list, explain: what the patches do here, and why."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from typing import Any

from ascend_patches.commands import console, measured
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring import patch as registry
from ascend_patches.declaring.patch import Patch
from ascend_patches.errors import AscendPatchesError, StrictModeError
from ascend_patches.process.toolkit import Toolkit
from ascend_patches.reporting import report
from ascend_patches.settings import reader as settings
from ascend_patches.upstream.environment import here


def status(arguments: argparse.Namespace) -> int:
    if arguments.dir is not None:
        return _status_of_directory(arguments.dir, arguments.json)
    toolkit = Toolkit()
    stopped = ""
    try:
        toolkit.activate("ascend-patches status", config=arguments.config)
    except StrictModeError as error:
        stopped = str(error)
    data = report.status(toolkit)
    for patch in data["patches"]:
        current = toolkit.patches[patch["name"]]
        if patch["state"] == "waiting":
            foreseen = foresee(current.patch, current.choice, toolkit.where, toolkit.code_lock)
            patch["foreseen"] = {"verdict": foreseen.verdict, "reason": foreseen.reason}
    if arguments.json:
        print(json.dumps(data, indent=2))
    else:
        _print_status(data)
        if stopped:
            print(f"\nvLLM would not start: {stopped}")
    return 1 if stopped or _something_failed(data) else 0


def list_patches(arguments: argparse.Namespace) -> int:
    known = registry.known()
    chosen = settings.load(known.patches, arguments.config)
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


def explain(arguments: argparse.Namespace) -> int:
    known = registry.known()
    patch = known.patches.get(arguments.name)
    if patch is None:
        raise AscendPatchesError(
            f"there is no patch {arguments.name!r}; known are: {', '.join(sorted(known.patches)) or 'none'}"
        )
    chosen = settings.load(known.patches, arguments.config)
    choice = chosen.choice(patch, here)
    foreseen = foresee(patch, choice, here, Lock.read())
    data = {
        "name": patch.name,
        "summary": patch.summary,
        "why": patch.why,
        "upstream": list(patch.upstream),
        "origin": known.origins[patch.name],
        "retire": patch.retire,
        "default": patch.default,
        "enabled": choice.enabled and chosen.mode != "off",
        "switched": choice.reason if chosen.mode != "off" else "everything is switched off",
        "options": {
            name: {
                "value": choice.options[name],
                "default": option.default,
                "expected": option.expected(),
                "meaning": option.meaning,
            }
            for name, option in patch.options.items()
        },
        "variants": [
            {
                "name": variant.name,
                "gate": str(variant.gate),
                "here": variant.gate.judge(here)._asdict(),
                "targets": list(variant.targets),
                "parts": [
                    {"name": part.name, "targets": [rewrite.target for rewrite in part.rewrites]}
                    for part in variant.parts
                ],
            }
            for variant in patch.variants
        ],
        "foreseen": {
            "verdict": foreseen.verdict,
            "variant": foreseen.variant.name if foreseen.variant is not None else None,
            "reason": foreseen.reason,
        },
        "measured": measured.of_patch(patch.name),
    }
    print(json.dumps(data, indent=2) if arguments.json else _explanation(data, patch))
    return 0


def _explanation(data: dict[str, Any], patch: Patch) -> str:
    lines = [f"{data['name']}: {data['summary']}", ""]
    for heading, text in (("why", data["why"]), ("retire it", data["retire"])):
        if text:
            lines.append(_paragraph(heading, text))
    lines += [_paragraph("upstream", url) for url in data["upstream"]]
    lines.append(_paragraph("from", data["origin"]))
    lines.append(_paragraph("now", data["switched"] + f" (default: {_on(data['default'])})"))
    for name, option in data["options"].items():
        text = f"{option['value']!r} (default {option['default']!r}; {option['expected']}): {option['meaning']}"
        lines.append(_paragraph(f"option {name}", text))
    for variant in data["variants"]:
        verdict = {True: "fits", False: "does not fit", None: "cannot be told"}[variant["here"]["holds"]]
        lines.append(_paragraph(f"variant {variant['name']}", f"for {variant['gate']}"))
        lines.append(_paragraph("", f"{verdict} here: {variant['here']['why']}"))
        for part in variant["parts"]:
            rewrites = [f"rewrites {target}" for target in part["targets"]]
            if len(variant["parts"]) > 1:
                rewrites[0] = f"part {part['name']} {rewrites[0]}"
            lines += [_paragraph("", rewrite) for rewrite in rewrites]
    words = {"apply": "would be applied", "wait": "would wait", "skip": "would be skipped", "fail": "would fail"}
    outcome = (
        words[data["foreseen"]["verdict"]]
        if data["enabled"]
        else "is off; if it were on, it " + (words[data["foreseen"]["verdict"]])
    )
    lines.append(_paragraph("here", f"{outcome}: {data['foreseen']['reason']}"))
    if data["measured"] is not None:
        first, *rest = measured.in_words(data["measured"])
        lines += [_paragraph("measured", first), *(_paragraph("", line) for line in rest)]
    return "\n".join(lines)


def _paragraph(heading: str, text: str) -> str:
    indent = " " * 18
    return textwrap.fill(
        text, 110, initial_indent=heading.ljust(17) + " ", subsequent_indent=indent, break_long_words=False
    )


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
                f"{data['host']}:{data['pid']}" + ("" if data["running"] is not False else " (ended)"),
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
                print(f"{data['host']}:{data['pid']}: {problem}")
        for problem in problems:
            print(problem)
        if not reports:
            print(f"no process has left a report in {folder}")
    return 1 if problems or any(map(_something_failed, reports)) else 0


def _print_status(data: dict[str, Any]) -> None:
    found = ", ".join(f"{name} {known['version'] or 'unknown'}" for name, known in data["versions"].items())
    print(f"mode       {data['mode']}")
    print(f"settings   {data['settings_file'] or 'none found; the declared defaults'}")
    print(f"versions   {found}")
    rows = []
    for patch in data["patches"]:
        foreseen = patch.get("foreseen")
        later = f"; when it is imported: {foreseen['verdict']}, {foreseen['reason']}" if foreseen else ""
        rows.append([patch["name"], patch["state"], patch["variant"] or "-", patch["reason"] + later])
    if rows:
        print()
        print(console.table(["patch", "state", "variant", "reason"], rows))
    for problem in data["problems"]:
        print(f"\nproblem: {problem}")


def _something_failed(data: dict[str, Any]) -> bool:
    return bool(data["problems"]) or any(patch["state"] == "failed" for patch in data["patches"])


def _on(enabled: object) -> str:
    return "on" if enabled else "off"
