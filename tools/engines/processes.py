"""The processes of a running engine: what each is for, and how much memory is its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FRONT_END, ENGINE_CORE, WORKER = "front end", "engine core", "worker"
# What vLLM writes into the titles of its processes.
_TITLES = {"EngineCore": ENGINE_CORE, "Worker": WORKER}
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process; ``memory`` is what no file on disk stands behind, in MiB."""

    pid: int
    role: str
    memory: float


def of_engine(front_end: int, proc: Path = _PROC) -> list[Process]:
    """The front end and all its descendants that live at this moment."""
    children: dict[int, list[int]] = {}
    for folder in proc.glob("[0-9]*"):
        fields = _status(folder)
        if fields is not None:
            children.setdefault(int(fields["PPid"]), []).append(int(folder.name))
    found, waiting = [], [front_end]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        fields = _status(proc / str(pid))
        if fields is not None and "RssAnon" in fields:
            role = FRONT_END if pid == front_end else _role(proc / str(pid))
            found.append(Process(pid, role, int(fields["RssAnon"].split()[0]) / 1024))
    return sorted(found, key=lambda process: process.pid)


def _role(folder: Path) -> str:
    try:
        title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        title = ""
    return next((role for part, role in _TITLES.items() if part in title), "helper")


def _status(folder: Path) -> dict[str, str] | None:
    """What the kernel says of a process, unless it has ended."""
    try:
        lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
