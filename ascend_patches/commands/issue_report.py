"""report: what an issue needs to be understood, ready to be pasted, with secrets masked."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Iterator
from typing import Any

from ascend_patches import catalogue
from ascend_patches.commands import console, doctor, reports
from ascend_patches.errors import AscendPatchesError
from ascend_patches.reporting import masked, report
from ascend_patches.settings import reader as settings

_VARIABLES = re.compile(r"(ASCEND|VLLM|HCCL|TORCH_NPU|PYTHONPATH|RAY_|LD_PRELOAD|PYTORCH_NPU)")


def issue_report(arguments: argparse.Namespace) -> int:
    data = _gathered(arguments)
    if arguments.json:
        print(json.dumps(data, indent=2))
    else:
        print("\n".join(_lines(data)))
    return 0


def _gathered(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, with secrets masked and the home folder shortened."""
    data, _ = reports.gathered(arguments.config)
    processes: list[dict[str, Any]] = []
    problems: list[str] = []
    folder = arguments.dir or os.environ.get("ASCEND_PATCHES_REPORT_DIR")
    if folder:
        try:
            processes, problems = report.read(folder)
        except OSError as error:
            problems = [f"{folder}: cannot be read: {error.strerror or error}"]
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    rows = [[one["name"], one["state"], one["variant"] or "-", reports.reason(one)] for one in data["patches"]]
    found: dict[str, Any] = _clean(
        {
            "system": f"{system}, Python {platform.python_version()}",
            "cann": _cann(),
            "versions": {name: known["version"] or "unknown" for name, known in data["versions"].items()},
            "mode": data["mode"],
            "settings_file": data["settings_file"],
            "settings": _settings_text(data["settings_file"]),
            "variables": [f"{name}={value}" for name, value in sorted(os.environ.items()) if _VARIABLES.match(name)],
            "patches": rows,
            "doctor": [list(finding) for finding in doctor.findings(arguments.config)],
            "processes": [
                [f"{one['host']}:{one['pid']}", patch["name"], patch["state"], patch["variant"] or "-", patch["reason"]]
                for one in processes
                for patch in one["patches"]
            ],
            "problems": [*data["problems"], *problems],
        }
    )
    return found


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if not isinstance(value, str):
        return value
    home = os.path.expanduser("~")
    text = "\n".join(map(masked.text, value.split("\n")))
    return text.replace(home + os.sep, "~/") if len(home) > 1 else text


def _settings_text(file: str | None) -> str:
    """The settings file as it is, or what keeps it from being read."""
    if file is None:
        return ""
    try:
        settings.load(catalogue.known().patches, file)
        with open(file, encoding="utf-8") as stream:
            lines = [line.rstrip() for line in stream if line.strip() and not line.lstrip().startswith("#")]
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    except AscendPatchesError as error:
        return f"cannot be used: {error}"
    return "\n".join(lines)


def _cann() -> str:
    """The version of CANN, read where its set-up script points."""
    home = os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    if not home:
        return "ASCEND_TOOLKIT_HOME is not set"
    for name in ("version.cfg", os.path.join("compiler", "version.info"), "version.info"):
        try:
            with open(os.path.join(home, name), encoding="utf-8", errors="replace") as stream:
                found = re.search(r"(?im)^(?:version|toolkit_running_version)\W+([\w.]+)", stream.read())
        except OSError:
            continue
        if found is not None:
            return found[1]
    return f"no version in {home}"


def _lines(data: dict[str, Any]) -> Iterator[str]:
    yield "### ascend-patches report"
    yield ""
    yield "```text"
    yield data["system"]
    yield f"CANN: {data['cann']}"
    yield ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    yield f"mode: {data['mode']}; settings: {data['settings_file'] or 'none found'}"
    for title, lines in (("settings", data["settings"].split("\n")), ("variables", data["variables"])):
        if any(lines):
            yield f"\n{title}:"
            yield from (f"  {line}" for line in lines)
    yield ""
    yield console.table(["patch", "state", "variant", "reason"], data["patches"])
    yield ""
    yield console.table(["", "subject", "finding"], data["doctor"])
    if data["processes"]:
        yield ""
        yield console.table(["process", "patch", "state", "variant", "reason"], data["processes"])
    yield from (f"problem: {problem}" for problem in data["problems"])
    yield "```"
    yield ""
    yield "Secrets are masked; read it before you paste it, beside the output of vLLM's `python -m vllm.collect_env`."
