"""Reports: what the patches of a process are doing, as data, as text, and as files that processes leave behind."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ascend_patches._version import __version__
from ascend_patches.declaring.gates import Gate, Present, VersionIn

if TYPE_CHECKING:
    from ascend_patches.process.toolkit import PatchStatus, Toolkit
    from ascend_patches.replacing.targets import Site

ALWAYS_SHOWN = ("vllm", "vllm-ascend", "torch", "torch-npu")
_PREFIX = "ascend_patches-"
_SHOWN = ("name", "state", "variant", "reason")


def status(toolkit: Toolkit) -> dict[str, Any]:
    """The state of every patch in this process, with reasons, ready for JSON."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": [sys.executable, *sys.argv],
        "mode": toolkit.settings.mode,
        "activated_by": toolkit.activated_by,
        "settings_file": toolkit.settings.file,
        "identity": toolkit.identity(),
        "versions": versions(toolkit),
        "problems": list(toolkit.problems),
        "patches": [_patch(name, patch, toolkit) for name, patch in sorted(toolkit.patches.items())],
    }


def versions(toolkit: Toolkit) -> dict[str, dict[str, str | None]]:
    """What is installed of all that gates ask about, and how that was found out."""
    named = {
        package
        for patch in toolkit.registry.patches.values()
        for variant in patch.variants
        for package in _packages(variant.gate)
    }
    found: dict[str, dict[str, str | None]] = {
        "ascend-patches": {"version": __version__, "source": "this package"},
        "python": {"version": ".".join(map(str, sys.version_info[:3])), "source": sys.executable},
    }
    for package in (*ALWAYS_SHOWN, *sorted(named - set(ALWAYS_SHOWN))):
        installed = toolkit.where.installed(package)
        if installed is not None:
            found[package] = {"version": installed.text, "source": installed.source}
    return found


def write(folder: str, data: dict[str, Any]) -> str:
    """Leave a report in a directory, whole or not at all, in a file that belongs to this process."""
    path = os.path.join(folder, f"{_PREFIX}{data['host']}-{data['pid']}.json")
    os.makedirs(folder, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=2)
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    return path


def read(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The reports in a directory, and what is wrong with those that cannot be read."""
    reports: list[dict[str, Any]] = []
    problems: list[str] = []
    for name in sorted(os.listdir(folder)):
        if not name.startswith(_PREFIX) or not name.endswith(".json"):
            continue
        path = os.path.join(folder, name)
        try:
            with open(path, encoding="utf-8") as stream:
                data = json.load(stream)
            patches = [{**patch, **{key: patch[key] for key in _SHOWN}} for patch in data["patches"]]
            checked = {"problems": list(data["problems"]), "patches": patches, "running": _is_running(data)}
            reports.append({**data, **checked})
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            problems.append(f"{path}: no report: {type(error).__name__}: {error}")
    return reports, problems


def of_the_others(folder: str) -> Iterator[dict[str, Any]]:
    """The reports in a directory of the other processes that run on this host."""
    ours = f"{_PREFIX}{socket.gethostname()}-"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        pid = name.removeprefix(ours).removesuffix(".json")
        if pid.isdigit() and int(pid) != os.getpid() and _exists(int(pid)):
            with suppress(OSError, ValueError), open(os.path.join(folder, name), encoding="utf-8") as stream:
                yield json.load(stream)


def _patch(name: str, patch: PatchStatus, toolkit: Toolkit) -> dict[str, Any]:
    pending = patch.decision.pending if patch.decision is not None and patch.open else ()
    missed = {target: why for target in pending if (why := _waiting_for(target, toolkit))}
    return {
        "name": name,
        "state": patch.state,
        "variant": patch.variant.name if patch.variant is not None else None,
        "reason": "; ".join([*sorted(set(missed.values())), patch.reason, *_compared(patch)]),
        "enabled": patch.choice.enabled,
        "options": dict(patch.choice.options),
        "shadow": patch.shadow.as_data() if patch.shadow is not None else None,
        "targets": [
            {
                "target": target,
                "state": status.state,
                "reason": missed.get(target) or _covered(patch.sites.get(target)) or status.reason,
            }
            for target, status in patch.targets.items()
        ],
    }


def _compared(patch: PatchStatus) -> list[str]:
    """What comparing calls with the original has shown, where that is done."""
    return [f"shadow: {patch.shadow.counts}"] if patch.shadow is not None else []


def _covered(site: Site | None) -> str:
    """Who has put something on top of what was replaced, read back at this moment."""
    return "" if site is None or site.in_place() else f"replaced, and now belongs to {site.owner_now()}"


def _waiting_for(target: str, toolkit: Toolkit) -> str:
    """What keeps a target waiting that will not happen by itself."""
    module = target.partition(":")[0]
    if module in toolkit.finder.unreachable:
        return (
            f"{module} cannot be watched: {toolkit.finder.unreachable[module]}; call apply_patches() after its import"
        )
    loaded = sys.modules.get(module)
    being_executed = getattr(getattr(loaded, "__spec__", None), "_initializing", False)
    if loaded is None or being_executed or module in toolkit.executed:
        return ""
    return f"{module} was imported out of the finder's sight; call apply_patches() now"


def _packages(gate: Gate) -> set[str]:
    return {leaf.package for leaf in gate.leaves() if isinstance(leaf, (VersionIn, Present))}


def _is_running(data: dict[str, Any]) -> bool | None:
    """Whether the process that left a report still runs; None when it runs on another host."""
    if data["host"] != socket.gethostname():
        return None
    return _exists(int(data["pid"]))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
