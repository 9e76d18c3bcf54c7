"""What happens to a service on a bad day, one thing at a time: to its patches, processes, reports and settings."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .processes import ENGINE_CORE, WORKER
from .running import Engine

PATIENCE = 120.0
"""Seconds within which a command has to answer, whatever lies in the folder of reports."""

PATCHES = ("mm-encoder-attention", "rotary-embedding", "qwen3-vl-vision")
SETTINGS = (
    "shadow = 0.2\n",
    "shadow = 1.0\nquarantine = 3\n",
    "shadow = 0.5\n[patches.rotary-embedding]\nenabled = false\n",
    'mode = "on"\nunknown = "skip"\nshadow = 0.05\nreport_readers = "owner"\n',
    "shadow = 2\nnonsense = true\n",
    "mode = [[[\n",
)
"""What is set from one start to the next; the last two are mistakes, with which no patch is on."""


class Storms:
    """Strikes an engine that is served; ``complaints`` has what did not stand it."""

    def __init__(self, settings: Path, status: Sequence[str], environ: Mapping[str, str]) -> None:
        self.settings = settings
        self.counts: dict[str, int] = {}
        self.complaints: list[str] = []
        self._status = list(status)
        self._environ = dict(environ)

    def strike(self, engine: Engine, chosen: random.Random) -> str:
        """Do one thing; returns its name."""
        kinds: dict[str, Callable[[Engine, random.Random], None]] = {
            "revert": lambda engine, chosen: self._in_worker(engine, "revert"),
            "apply": lambda engine, chosen: self._in_worker(engine, "apply"),
            "quarantine": lambda engine, chosen: self._in_worker(engine, "quarantine", chosen.choice(PATCHES)),
            "hostile files": self._hostile_files,
            "reports nowhere to go": self._path_taken,
            "settings changed": self._settings_changed,
            "status": lambda engine, chosen: self._ask_for_status(engine),
            "worker killed": lambda engine, chosen: self._kill(engine),
        }
        often = {"apply": 8, "revert": 6, "hostile files": 4, "status": 2, "quarantine": 2, "reports nowhere to go": 2}
        name = chosen.choices(list(kinds), [often.get(kind, 1) for kind in kinds])[0]
        self.counts[name] = self.counts.get(name, 0) + 1
        kinds[name](engine, chosen)
        return name

    def choose_settings(self, chosen: random.Random) -> None:
        self.settings.write_text(chosen.choice(SETTINGS), encoding="utf-8")

    def _settings_changed(self, engine: Engine, chosen: random.Random) -> None:
        self.choose_settings(chosen)

    def _in_worker(self, engine: Engine, what: str, patch: str = "") -> None:
        states = engine.ask({"storm": what, "patch": patch})
        if what == "revert" and "applied" in states.values():
            self.complaints.append(f"patches are on after they were reverted: {states}")

    def _hostile_files(self, engine: Engine, chosen: random.Random) -> None:
        """Put something else in the place of reports, under the names of processes that run and of some that do not."""
        engine.reports.mkdir(exist_ok=True)
        pids = [process.pid for process in engine.processes()] + [chosen.randrange(2, 4_000_000)]
        path = engine.reports / f"ascend_patches-{os.uname().nodename}-{chosen.choice(pids)}.json"
        path.unlink(missing_ok=True)
        kind = chosen.choice(("pipe", "link", "deep", "large", "types", "escape"))
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to("/dev/zero")
        elif kind == "large":
            with open(path, "wb") as stream:
                stream.truncate(400 * 1024**2)
        else:
            wrong = {"host": 1, "pid": "x", "patches": [{"name": "\x1b[2J"}], "problems": None}
            path.write_text("[" * 100_000 if kind == "deep" else json.dumps(wrong), encoding="utf-8")

    def _path_taken(self, engine: Engine, chosen: random.Random) -> None:
        """Have a file stand where the folder of reports was, while states change; then put the folder back."""
        aside = engine.reports.with_name("aside")
        engine.reports.mkdir(exist_ok=True)
        engine.reports.rename(aside)
        try:
            engine.reports.touch()
            self._in_worker(engine, "revert")
            self._in_worker(engine, "apply")
        finally:
            engine.reports.unlink()
            aside.rename(engine.reports)

    def _ask_for_status(self, engine: Engine) -> None:
        command = [*self._status, "status", "--dir", str(engine.reports)]
        try:
            ran = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.complaints.append(f"status --dir has not ended within {PATIENCE:.0f} s")
            return
        if ran.returncode not in (0, 1) or "Traceback" in ran.stderr or "\x1b" in ran.stdout:
            self.complaints.append(f"status --dir: exit code {ran.returncode}: {ran.stderr[-500:]}")

    def _kill(self, engine: Engine) -> None:
        """Kill what runs the model, as a machine without memory does."""
        running = {process.role: process.pid for process in engine.processes()}
        os.kill(running[WORKER if WORKER in running else ENGINE_CORE], signal.SIGKILL)
        engine.end_now()
