"""Processes in which torch is imported and nothing else has happened, made in a few milliseconds each.

A plain subprocess spends seconds on importing torch; these are forked from a server that has done so once.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["torch"])


def run(code: str, arguments: tuple[str, ...], *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as the main module of a fresh process, with warnings as errors."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = _FORKING.Process(target=_execute, args=(code, arguments, *streams))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        stdout, stderr = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(["python", *arguments], int(process.exitcode or 0), stdout, stderr)


def _execute(code: str, arguments: tuple[str, ...], stdout: str, stderr: str) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("error")
    exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})
