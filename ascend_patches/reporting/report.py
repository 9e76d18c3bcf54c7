"""Reports: what the patches of a process are doing, as data and as a file that the process leaves behind."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ascend_patches._version import __version__
from ascend_patches.declaring.gates import Gate, Present, VersionIn
from ascend_patches.declaring.target import Target
from ascend_patches.reporting import lifetime
from ascend_patches.reporting.folder import clean_up, of_the_others, read, write
from ascend_patches.reporting.masked import masked

if TYPE_CHECKING:
    from ascend_patches.process.live_patch import LivePatch
    from ascend_patches.process.toolkit import Toolkit

__all__ = ["leave", "of_the_others", "read", "status", "versions", "write"]

ALWAYS_SHOWN = ("vllm", "vllm-ascend", "torch", "torch-npu")


def status(toolkit: Toolkit) -> dict[str, Any]:
    """The state of every patch in this process, with reasons, ready for JSON."""
    toolkit.look()
    return {
        "pid": os.getpid(),
        "host": lifetime.host(),
        "process": lifetime.of_this_process(),
        "command": _command(),
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
        "python": {"version": ".".join(map(str, sys.version_info[:3])), "source": sys.executable or "this interpreter"},
    }
    for package in (*ALWAYS_SHOWN, *sorted(named - set(ALWAYS_SHOWN))):
        installed = toolkit.where.installed(package)
        if installed is not None:
            found[package] = {"version": installed.text, "source": installed.source}
    return found


def leave(toolkit: Toolkit, folder: str) -> str:
    """Leave this process's report in a directory; the first one also removes what ended processes left there."""
    path = write(folder, status(toolkit), toolkit.settings.report_readers)
    if _CLEANED_UP.get(folder) != os.getpid():
        _CLEANED_UP[folder] = os.getpid()
        clean_up(folder)
    return path


_CLEANED_UP: dict[str, int] = {}
"""The directories that were cleaned up, with the process that did it: a fork is another one."""


def _patch(name: str, patch: LivePatch, toolkit: Toolkit) -> dict[str, Any]:
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
                "reason": missed.get(target) or status.reason,
            }
            for target, status in patch.targets.items()
        ],
    }


def _compared(patch: LivePatch) -> list[str]:
    """What comparing calls with the original has shown, where that is done."""
    return [f"shadow: {patch.shadow.counts}"] if patch.shadow is not None else []


def _waiting_for(target: Target, toolkit: Toolkit) -> str:
    """What keeps a target waiting that will not happen by itself."""
    unreachable = toolkit.imports.finder.unreachable.get(target.module)
    if unreachable is not None:
        return f"{target.module} cannot be watched: {unreachable}; call apply_patches() after its import"
    if toolkit.imports.missed(target.module):
        return f"{target.module} was imported out of the finder's sight; call apply_patches() now"
    return ""


def _packages(gate: Gate) -> set[str]:
    return {leaf.package for leaf in gate.leaves() if isinstance(leaf, (VersionIn, Present))}


def _command() -> list[str]:
    """The command line, as far as there is one: a program that embeds Python may have no argv, or one of anything."""
    arguments = getattr(sys, "argv", None)
    arguments = arguments if isinstance(arguments, (list, tuple)) else []
    return masked(str(each) for each in (getattr(sys, "executable", None) or "", *arguments))
