"""Which process left a report, and whether it still runs: a pid alone may belong to another program by now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_PROC = "/proc"
_ENDED = "ZX"
"""States in which a process only waits for its parent to ask how it ended."""


def host() -> str:
    return os.uname().nodename


def of_this_process() -> dict[str, Any] | None:
    """What tells this process from every other one: the boot, the pids' namespace, and when it started."""
    here, started = _here(), started_at(os.getpid())
    return {**here, "started": started} if here is not None and started is not None else None


def still_runs(report: Mapping[str, Any]) -> bool | None:
    """Whether the process that left a report runs; None where this machine cannot tell."""
    if report["host"] != host():
        return None
    process = report.get("process")
    if process is None:  # left by a system without /proc, or by an earlier release of this package
        return _exists(report["pid"])
    here = _here()
    if here is None or any(process[key] != here[key] for key in here):
        return None
    started = started_at(report["pid"])
    if started is None:
        # Where a system hides the processes of other users, existing is all that can be asked.
        return None if _exists(report["pid"]) and _is_hidden(report["pid"]) else False
    return bool(started == process["started"])


def started_at(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None if it has ended."""
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as stream:
            # The name, in parentheses, may hold anything, parentheses and spaces included.
            fields = stream.read().rpartition(b")")[2].split()
        return None if fields[0].decode() in _ENDED else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def owner_of(pid: int) -> int | None:
    """The user that a process runs as."""
    try:
        return os.stat(f"{_PROC}/{pid}").st_uid
    except OSError:
        return None


def _here() -> dict[str, Any] | None:
    try:
        with open(f"{_PROC}/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return {"boot": stream.read().strip(), "namespace": os.readlink(f"{_PROC}/self/ns/pid")}
    except (OSError, ValueError):
        return None


def _is_hidden(pid: int) -> bool:
    return not os.path.exists(f"{_PROC}/{pid}/stat")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
