"""doctor: is activation in place, does it reach every process, and is what it reads in order."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ascend_patches import catalogue
from ascend_patches.basics.paths import absolute, from_variable
from ascend_patches.commands import console, neighbourhood
from ascend_patches.deciding.lock import Lock
from ascend_patches.errors import AscendPatchesError, InstallError
from ascend_patches.process.toolkit import Toolkit
from ascend_patches.reporting import report
from ascend_patches.settings import reader
from ascend_patches.settings.mode import asked_for
from ascend_patches.starting import start_hook
from ascend_patches.upstream import distributions
from ascend_patches.upstream.environment import here

HOW_RAY_WORKERS_GET_IT = (
    "set it for `ray start` on every node, or use a settings file; where vLLM is 0.17 or later and there is no start "
    "hook, VLLM_RAY_EXTRA_ENV_VAR_PREFIXES_TO_COPY=ASCEND_PATCHES has vLLM copy it"
)


class Finding(NamedTuple):
    """One thing looked at: whether it is in order, and what was seen."""

    level: str
    subject: str
    what: str


def doctor(arguments: argparse.Namespace) -> int:
    found = findings(arguments.config)
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        print(console.table(["", "subject", "finding"], found))
    return 1 if any(finding.level == "problem" for finding in found) else 0


def findings(config: str | None) -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown."""
    return [
        *_versions(),
        *_start_hooks(),
        *_vllm_plugin(),
        *_ray(),
        *_neighbours(),
        *_settings(config),
        *_report_directory(),
    ]


def _versions() -> Iterator[Finding]:
    toolkit = Toolkit()
    toolkit.registry = catalogue.known()
    for name, found in report.versions(toolkit).items():
        level = "ok" if found["version"] else "problem"
        yield Finding(level, "version", f"{name} {found['version'] or 'unknown'}, from {found['source']}")
    if here.installed("vllm") is None:
        yield Finding("note", "version", "vllm is not installed in this environment")
    if os.environ.get("VLLM_VERSION"):
        override = os.environ["VLLM_VERSION"]
        yield Finding("note", "version", f"VLLM_VERSION={override} overrides the version that gates see")
    for problem in toolkit.registry.problems:
        yield Finding("problem", "patches", problem)


def _start_hooks() -> Iterator[Finding]:
    mode = asked_for()
    if mode == "off":
        yield Finding("note", "start", "ASCEND_PATCHES=off: nothing starts the toolkit")
    try:
        present = start_hook.installed_pth()
    except InstallError as error:
        yield Finding("problem", "start", str(error))
        present = None
    path, wanted = start_hook.pth_path(), start_hook.pth_text(catalogue.known().roots())
    if present is not None:
        yield Finding("note", "start", f"run ascend-patches uninstall before pip uninstall, which leaves {path} behind")
    unwaited = start_hook.unwaited(catalogue.known().roots())
    if unwaited:
        names = ", ".join(unwaited)
        what = "was written before their patches were added" if present is not None else "is missing"
        yield Finding(
            "problem",
            "start",
            f"nothing starts the toolkit when {names} is imported: {path} {what}; run: ascend-patches install",
        )
    elif present is not None and present != wanted:
        yield Finding("problem", "start", f"{path} is of another version; run: ascend-patches install")
    on_path = start_hook.sitecustomize_folder() in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    how = start_hook.started_in_child()
    if how is not None:
        yield Finding("ok", "start", f"a fresh {sys.executable} starts the toolkit, by {how}")
    elif mode != "off" and (present is not None or on_path):
        yield Finding("problem", "start", f"a fresh {sys.executable} does not start the toolkit, although it should")
    else:
        yield Finding("note", "start", "no start hook; vLLM's plugin or apply_patches() has to activate")
    if on_path and present is None:
        yield Finding("note", "start", "only PYTHONPATH starts it: -I and -E drop that")
    if how is not None and start_hook.started_in_child(generations=2) is None:
        yield Finding("problem", "start", "the children of a fresh Python do not start the toolkit")
    yield Finding("ok", "start", f"sitecustomize that runs: {_sitecustomize_in_child() or 'none'}")


def _sitecustomize_in_child() -> str:
    code = "import sys; m = sys.modules.get('sitecustomize'); print(getattr(m, '__file__', '') or '')"
    result = subprocess.run([sys.executable, "-c", code], cwd=os.sep, capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


def _plugin_names() -> list[str]:
    """The names under which vLLM sees our plugin; none where the package is not installed."""
    return [name for _, name, value in distributions.entry_points("vllm.general_plugins") if "ascend_patches" in value]


def _vllm_plugin() -> Iterator[Finding]:
    names = _plugin_names()
    if not names:
        yield Finding("note", "plugin", "vLLM does not see our plugin: the package is not installed, only on the path")
        return
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is None:
        yield Finding("ok", "plugin", "vLLM loads our plugin in every process")
    elif names[0] in allowed.split(","):
        yield Finding("ok", "plugin", f"VLLM_PLUGINS={allowed} names our plugin; it filters platforms as well")
    else:
        what = f"VLLM_PLUGINS={allowed} keeps our plugin {names[0]!r} from being loaded; add it to the list"
        yield Finding("problem", "plugin", what)


def _ray() -> Iterator[Finding]:
    """Ray starts its workers with the environment that its node was started with, not with the driver's."""
    if here.installed("ray") is None:
        return
    names, allowed = _plugin_names(), os.environ.get("VLLM_PLUGINS")
    if names and (allowed is None or names[0] in allowed.split(",")):
        yield Finding("ok", "ray", "Ray workers are patched through vLLM's plugin, on every node that has the package")
    elif os.path.exists(start_hook.pth_path()):
        yield Finding(
            "ok", "ray", f"Ray workers are patched by the start hook, on every node that has {start_hook.PTH_NAME}"
        )
    else:
        what = "Ray workers are not patched: PYTHONPATH does not reach them; install the package on every node"
        yield Finding("note", "ray", what)
    left_behind = sorted(filter(_stays_with_the_driver, os.environ))
    if left_behind:
        yield Finding("note", "ray", f"{', '.join(left_behind)}: Ray workers do not get that; {HOW_RAY_WORKERS_GET_IT}")


def _stays_with_the_driver(variable: str) -> bool:
    """Whether it is one of ours and vLLM does not copy it."""
    named = os.environ.get("VLLM_RAY_EXTRA_ENV_VARS_TO_COPY", "").split(",")
    prefixes = os.environ.get("VLLM_RAY_EXTRA_ENV_VAR_PREFIXES_TO_COPY", "").split(",")
    copied = variable in named or any(prefix and variable.startswith(prefix) for prefix in prefixes)
    # The emulated NPU's platform sends its own.
    return variable.startswith("ASCEND_PATCHES") and not variable.startswith("ASCEND_PATCHES_EMULATED") and not copied


def _neighbours() -> Iterator[Finding]:
    """Other software that changes vLLM in the same process, and where it meets a target of ours."""
    patches = catalogue.known().patches.values()
    for neighbour, version in neighbourhood.present():
        what = f"{neighbour.name} ({version}) {neighbour.how}; {neighbour.advice}"
        yield Finding("note", "neighbours", what)
        for met in neighbourhood.meetings(neighbour, patches):
            what = f"{neighbour.name} replaces {met.target} as well, in {met.file}, line {met.line}: see {met.patch}"
            yield Finding("note", "neighbours", f"{what} in status once the model is loaded")
    plugins = neighbourhood.other_plugins()
    if plugins:
        yield Finding("note", "neighbours", f"vLLM loads other plugins as well: {', '.join(plugins)}")
    start_files = neighbourhood.other_start_files()
    if start_files:
        what = f"other start files run code in every Python: {', '.join(start_files)}"
        yield Finding("note", "neighbours", what)


def _settings(config: str | None) -> Iterator[Finding]:
    try:
        Lock.read()
        known = catalogue.known()
        chosen = reader.load(known.patches, config)
        on = [name for name, patch in known.patches.items() if chosen.choice(patch, here).enabled]
    except AscendPatchesError as error:
        for line in str(error).splitlines():
            yield Finding("problem", "settings", line)
        return
    yield Finding(
        "ok", "settings", f"mode {chosen.mode}, from {chosen.file or 'the declared defaults (no file found)'}"
    )
    yield Finding(
        "ok", "settings", f"{len(on)} of {len(known.patches)} patches are on: {', '.join(sorted(on)) or 'none'}"
    )


def _report_directory() -> Iterator[Finding]:
    folder = from_variable("ASCEND_PATCHES_REPORT_DIR")
    if folder:
        existing = absolute(folder)
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing)
        usable = os.path.isdir(existing) and os.access(existing, os.W_OK)
        level, word = ("ok", "can") if usable else ("problem", "cannot")
        yield Finding(level, "reports", f"ASCEND_PATCHES_REPORT_DIR={folder} {word} be written by this user")
        if usable and not os.path.isdir(folder):
            yield Finding("note", "reports", f"{folder} is not there yet: the first process makes it")
        elif os.path.isdir(folder):
            yield from _processes(folder)
    else:
        what = "ASCEND_PATCHES_REPORT_DIR is not set: what is in place in a running server is not to be seen from here"
        yield Finding("note", "processes", f"{what}; its metrics and status() within a process say it")


def _processes(folder: str) -> Iterator[Finding]:
    """What is in place in the processes that run, as they last said."""
    try:
        reports, _ = report.read(folder)
    except OSError as error:
        yield Finding("problem", "processes", f"{folder} cannot be read: {error.strerror or error}")
        return
    running = [data for data in reports if data["running"]]
    seen = f"{len(running)} that run have left reports in {folder}"
    yield Finding("note", "processes", f"{seen}; ascend-patches status --dir {folder} shows all of their states")
    for data in running:
        for patch in data["patches"]:
            if patch["state"] in ("overwritten", "failed"):
                what = f"{data['host']}:{data['pid']}: {patch['name']} is {patch['state']}: {patch['reason']}"
                yield Finding("problem", "processes", what)
