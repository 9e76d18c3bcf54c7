"""Runs a command on exactly one pair: its folders first on the path, its shims in every process of the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from . import dependencies, shims
from .errors import CannotRunError
from .pairs import Pair
from .store import Interpreter, Store

_HERE = Path(__file__).parent
_START = _HERE / "start"
_REPOSITORY = _HERE.parent.parent

_TORCH = "2.13"
# The oldest Python that the dependencies are pinned for: their current releases have no wheels for older ones.
_OLDEST_PYTHON = (3, 11)
# Of an environment's own distributions these would be found by entry point or by name beside the pair's.
_IN_THE_WAY = ("vllm-ascend", "torch-npu")

_QUESTION = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
names = sys.argv[1:]
print(json.dumps({"python": sys.version_info[:2], "versions": {name: version(name) for name in names}}))
"""


class _Answer(TypedDict):
    python: list[int]
    versions: dict[str, str | None]


def interpreter(python: str = sys.executable) -> Interpreter:
    """What the cache has to know of a Python."""
    major, minor = _ask(python)["python"]
    if (major, minor) < _OLDEST_PYTHON:
        raise CannotRunError(
            f"{python} is Python {major}.{minor}; what the releases depend on is pinned for 3.11 and newer. "
            "Name a newer one with --python."
        )
    return Interpreter(python, f"cp{major}{minor}")


def check(python: str) -> None:
    """Raise where the environment of a Python is not one that pairs can be run in."""
    versions = _ask(python, "torch", "numpy", *_IN_THE_WAY)["versions"]
    if not (versions["torch"] or "").startswith(f"{_TORCH}."):
        raise CannotRunError(
            f"the environment of {python} has torch {versions['torch'] or '(none)'}; the releases are run on {_TORCH}. "
            f"Install torch {_TORCH}, or name another environment with --python."
        )
    if versions["numpy"] is None:
        raise CannotRunError(f"the environment of {python} has no numpy. Install it, or name another with --python.")
    for name in _IN_THE_WAY:
        if versions[name] is not None:
            raise CannotRunError(
                f"the environment of {python} has its own {name} {versions[name]}, which would get between a pair and "
                "the command. Name an environment without it with --python."
            )


def environment(pair: Pair, store: Store, base: Mapping[str, str], *, without: Sequence[str] = ()) -> dict[str, str]:
    """The variables that make a process, and its children, see exactly this pair; ``without`` leaves out shims."""
    if pair.cannot_run:
        raise CannotRunError(f"{pair.name} cannot be run here: {pair.cannot_run}")
    path = [_START, *dependencies.path(pair, store), _REPOSITORY]
    changed = dict(base)
    changed["PYTHONPATH"] = os.pathsep.join([*map(str, path), *filter(None, [base.get("PYTHONPATH")])])
    changed["PATH"] = os.pathsep.join([os.path.dirname(store.interpreter.executable), base.get("PATH", os.defpath)])
    changed["ASCEND_PATCHES_RELEASE_SHIMS"] = ",".join(each for each in shims.names(pair) if each not in without)
    changed["ASCEND_PATCHES_RELEASE_TORCH_NPU"] = pair.emulated_torch_npu
    # Compiling a release takes longer than importing it, so its bytecode is kept, but in the cache: beside the sources
    # it would come between a distribution and its manifest.
    changed["PYTHONPYCACHEPREFIX"] = str(store.root / "bytecode")
    changed.pop("PYTHONDONTWRITEBYTECODE", None)
    return changed


def command(store: Store, words: Sequence[str]) -> list[str]:
    """The command to start; ``python`` stands for the interpreter of the store."""
    if words and words[0] in ("python", "python3"):
        return [store.interpreter.executable, *words[1:]]
    return list(words)


def _ask(python: str, *names: str) -> _Answer:
    """Put the question to a Python itself: it need not be the one that runs these tools."""
    try:
        asked = subprocess.run([python, "-I", "-c", _QUESTION, *names], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotRunError(f"{python} is no Python that can be started: {error}") from error
    answer: _Answer = json.loads(asked.stdout)
    return answer
