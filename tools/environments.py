"""Virtual environments for the tools: made when they are needed, kept in the user's cache, never depended on.

An environment is named by what is in it. One that was not finished is made again; without a usable cache directory they
are made in a temporary one and go with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")


class CannotMakeError(Exception):
    """An environment cannot be made; says which step failed and what it printed."""


def pythons() -> dict[str, str]:
    """The interpreters on this machine that are supported, by version."""
    found: dict[str, str] = {}
    for version in SUPPORTED:
        candidates = [shutil.which(f"python{version}") or ""]
        candidates += [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            candidates.insert(0, sys.executable)
        for candidate in filter(None, candidates):
            if _version_of(candidate) == version:
                found[version] = candidate
                break
    return found


def environment(
    name: str, requirements: Sequence[str], python: str = sys.executable, without: Sequence[str] = ()
) -> Path:
    """The interpreter of an environment with these requirements; made now if it is not there.

    ``without`` names what they bring along and what must not stay.
    """
    version = _version_of(python)
    if version is None:
        raise CannotMakeError(f"{python} does not run")
    digest = hashlib.sha256("\n".join([os.path.realpath(python), *requirements, *without]).encode()).hexdigest()[:10]
    folder = _home() / f"{name}-py{version}-{digest}"
    interpreter = folder / "bin" / "python"
    with _locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists() and interpreter.exists():
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        say(f"making the environment {name} (Python {version}): {', '.join(requirements) or 'empty'}")
        started = time.monotonic()
        _run([python, "-m", "venv", str(folder)], f"venv for {name}")
        for step in _steps(requirements):
            _run([str(interpreter), "-m", "pip", "install", "--quiet", *step], f"pip install {' '.join(step)}")
        if without:
            _run([str(interpreter), "-m", "pip", "uninstall", "--quiet", "--yes", *without], "pip uninstall")
        (folder / "complete").touch()
        say(f"made in {time.monotonic() - started:.0f} s")
    return interpreter


def install_project(interpreter: Path, project: Path = REPOSITORY) -> None:
    """Install this repository, or another project, into an environment, without what it requires.

    From a copy: a build leaves folders behind, and a later one would pack what is in them.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
        shutil.copytree(project, copy, ignore=left_out)
        what = f"pip install of {project.name}"
        _run([str(interpreter), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(copy)], what)


def say(text: str) -> None:
    """Progress, where a person sees it and a pipe does not."""
    print(f"# {text}", file=sys.stderr, flush=True)


def _steps(requirements: Sequence[str]) -> Iterator[list[str]]:
    """torch goes first and alone: pinned, it is not replaced by another build when something else asks for it."""
    torch = [requirement for requirement in requirements if requirement.split("=")[0] == "torch"]
    rest = [requirement for requirement in requirements if requirement not in torch]
    if torch:
        yield torch
    if rest:
        yield [*torch, *rest]


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ascend_patches" / "environments"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="ascend_patches-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        return _home()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _version_of(python: str) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise CannotMakeError(f"{what} failed:\n{result.stdout[-4000:]}")
