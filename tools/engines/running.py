"""Starts an engine in processes of its own, asks it, and ends them all."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .processes import Process, of_engine
from .questions import Request
from .surroundings import Surroundings

SERVE = Path(__file__).with_name("serve.py")
REPORTS = "reports"
PATIENCE = 420.0
"""Seconds within which an engine has to answer, on a machine that is busy with other things."""

POLL = 15.0
"""Seconds between two words of progress."""


class EngineError(Exception):
    """An engine did not start or did not answer; has the last lines of its log."""


def end_engines_when_told_to_stop() -> None:
    """Let SIGTERM end this program as any other error does: through the ends of its ``with`` blocks."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def launch(
    name: str,
    place: Surroundings,
    checkpoint: Path,
    folder: Path,
    *,
    patched: bool,
    variables: Mapping[str, str] | None = None,
    storms: bool = False,
) -> Engine:
    """Start serving a checkpoint, with the toolkit at interpreter start or with nothing of it active.

    With ``storms``, the engine does to its patches what it is told to.
    """
    serve = [str(place.interpreter), str(SERVE), str(checkpoint), place.dtype, *(["storms"] if storms else [])]
    environ = {**place.variables, "VLLM_CACHE_ROOT": str(folder / "cache"), **(variables or {})}
    if storms:
        environ["PYTHONPATH"] = str(SERVE.parent.parent)
    if not patched:
        return Engine(name, serve, {**environ, "ASCEND_PATCHES": "off"}, folder)
    activated = [str(place.interpreter.with_name("ascend-patches")), "run", "--report-dir", str(folder / REPORTS), "--"]
    return Engine(name, [*activated, *serve], environ, folder)


class Engine:
    """A vLLM that answers batches of requests; ``with`` it, or its processes stay."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.reports = folder / REPORTS
        self._log = folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def started(self, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """What it says of itself, once it is ready."""
        found: dict[str, Any] = self._receive(progress)
        return found

    def answers(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        self.send(requests)
        return self.received()

    def send(self, requests: Sequence[Request]) -> None:
        """Ask, so that another engine can be asked before this one has answered."""
        self._write([request.to_json() for request in requests])

    def _write(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._error("has ended") from None

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._receive()
        return found

    def ask(self, what: dict[str, Any]) -> Any:
        """Have it do something else than answer requests."""
        self._write(what)
        return self._receive()

    def end_now(self) -> None:
        """End all its processes without waiting for any."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def processes(self) -> list[Process]:
        return of_engine(self._process.pid)

    def finish(self) -> None:
        """Tell it that no more requests will come; it ends while something else is done."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.finish()
        try:
            self._process.wait(timeout=60 if kind is None else 1)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # What is left of its processes: the front end may have died before the others.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _receive(self, progress: Callable[[str], None] = lambda _: None) -> Any:
        assert self._process.stdout is not None
        started = time.monotonic()
        while not select.select([self._process.stdout], [], [], POLL)[0]:
            waited = time.monotonic() - started
            if waited > PATIENCE:
                raise self._error(f"has not answered for {waited:.0f} s")
            progress(f"the engine {self.name} is starting ({waited:.0f} s)")
        line = self._process.stdout.readline()
        if not line:
            raise self._error("has ended")
        return json.loads(line)

    def _error(self, what: str) -> EngineError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return EngineError("\n".join([f"the engine {self.name} {what}; the last lines of its log:", *lines[-30:]]))
