"""A world for a test: a folder with stand-in packages and patches, and clean interpreters that run in it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ascend_patches.starting import start_hook
from ascend_patches.upstream import fingerprints

REPOSITORY = Path(__file__).resolve().parent.parent
TIMEOUT = 240


def _core() -> Path:
    """A copy of the toolkit without the patches that it ships: what these may do to a stand-in is not asked here."""
    folder = Path(tempfile.mkdtemp(prefix="core-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    others = shutil.ignore_patterns("__pycache__", "emulated_npu", "npu", "patches")
    shutil.copytree(REPOSITORY / "ascend_patches", folder / "ascend_patches", ignore=others)
    shutil.copy(REPOSITORY / "ascend_patches_start.py", folder)
    (folder / "ascend_patches" / "patches").mkdir()
    (folder / "ascend_patches" / "patches" / "__init__.py").write_text("PATCHES = ()\n")
    return folder


CORE = _core()
SITECUSTOMIZE = CORE / "ascend_patches" / "starting" / "sitecustomize"

START = "import ascend_patches_start\n"
"""What the .pth file does, for code that is run in an interpreter without one."""


@dataclass(frozen=True)
class Result:
    """What a process left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The last line of output, as JSON."""
        assert self.returncode == 0, self.stderr
        return json.loads(self.stdout.strip().splitlines()[-1])

    @property
    def json_document(self) -> Any:
        """All of the output, as JSON; the exit code is the test's business."""
        return json.loads(self.stdout)

    @property
    def complaints(self) -> list[str]:
        """What the toolkit said on stderr."""
        return [line for line in self.stderr.splitlines() if line.startswith("ascend_patches: ")]

    def patch(self, name: str) -> dict[str, Any]:
        """One patch of a printed status."""
        return next(patch for patch in self.json["patches"] if patch["name"] == name)


def clean_environ(path: Sequence[str | os.PathLike[str]], env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that concerns the toolkit or Python's path, plus what is given."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ASCEND_PATCHES", "PYTHON", "COV_", "VLLM_"))
    }
    kept["PYTHONPATH"] = os.pathsep.join([*(os.fspath(each) for each in path), str(CORE)])
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    kept["PYTHONPYCACHEPREFIX"] = bytecode()
    return {**kept, **(env or {})}


@cache
def bytecode() -> str:
    """A folder with the bytecode of what most processes import, without which half of their time goes to compiling.

    They only read it: what a test writes twice within a second must not be taken from a cache.
    """
    folder = tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    env = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": str(CORE)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", f"import {', '.join(WARM)}"], env=env, check=True, timeout=TIMEOUT)
    return folder


WARM = (
    "json",
    "multiprocessing.pool",
    "ascend_patches_start",
    "ascend_patches.replacing.advice",
    "ascend_patches.api",
    "ascend_patches.commands.command_line",
    "ascend_patches.commands.doctor",
    "ascend_patches.commands.reports",
    "ascend_patches.commands.show_code",
    "ascend_patches.commands.start_hooks",
    "ascend_patches.process.finder",
)


def run_python(
    code_or_args: str | Sequence[str | os.PathLike[str]],
    *,
    path: Sequence[str | os.PathLike[str]] = (),
    env: Mapping[str, str] | None = None,
    python: str | os.PathLike[str] = sys.executable,
    cwd: str | os.PathLike[str] = os.sep,
) -> Result:
    """Run code, or an interpreter with arguments, in a clean process."""
    if isinstance(code_or_args, str):
        code_or_args = ["-c", textwrap.dedent(code_or_args)]
    return run([python, *code_or_args], env=clean_environ(path, env), cwd=cwd)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] = os.sep,
) -> Result:
    """Run a command to its end."""
    done = subprocess.run(
        [os.fspath(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT
    )
    return Result(done.returncode, done.stdout, done.stderr)


class World:
    """A folder on the path of the processes that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        """One file, with its folders."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def distribution(
        self, name: str, version: str | None, modules: Sequence[str], entry_points: Mapping[str, str] | None = None
    ) -> Path:
        """The metadata of an installed distribution that provides some top-level modules."""
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(f"{info}/top_level.txt", "".join(f"{module}\n" for module in modules))
        if entry_points:
            self.write(
                f"{info}/entry_points.txt",
                "".join(f"[{group}]\nentry = {value}\n\n" for group, value in entry_points.items()),
            )
        return self.folder / info

    def package(self, name: str, modules: Mapping[str, str], version: str | None = "1.0") -> None:
        """A package with its modules, ``{"engine": source}``; ``""`` is its ``__init__``. None: without metadata."""
        self.write(f"{name}/__init__.py", modules.get("", ""))
        for module, source in modules.items():
            if module:
                self.write(f"{name}/{module.replace('.', '/')}.py", source)
        if version is not None:
            self.distribution(name, version, [name])

    def patches(self, source: str, *, module: str = "their_patches", attribute: str = "PATCHES") -> None:
        """Another distribution that adds patches: a module and its entry point."""
        self.write(f"{module}.py", source)
        self.distribution(
            module.replace("_", "-"), "1.0", [module], {"ascend_patches.patches": f"{module}:{attribute}"}
        )

    def patch(
        self,
        name: str,
        rewrites: Mapping[str, str],
        code: str,
        *,
        gate: str = "always",
        around: bool = False,
        original_as: str | None = None,
        more: str = "",
        verified: bool = True,
        parts: bool = False,
    ) -> None:
        """A patch of its own distribution: targets, each with the name in ``code`` of what takes its place.

        With ``verified``, it vouches for the code that the world's packages have now. With ``parts``, each rewrite is
        a part of its own, named like its target's function. ``more`` are further arguments of the declaration.
        """
        key = "around" if around else "replace"
        declared = {
            target: f"Rewrite({target!r}, {key}={replacement}, original_as={original_as!r}, "
            f"fingerprints={self._fingerprints(target) if verified else ()!r}),"
            for target, replacement in rewrites.items()
        }
        if parts:
            names = {target: target.rpartition(":")[2] for target in declared}
            body = "parts=(" + "".join(f"Part({names[one]!r}, ({text})), " for one, text in declared.items()) + ")"
        else:
            body = "(" + "".join(declared.values()) + ")"
        source = (
            "from ascend_patches import *\n"
            f"{textwrap.dedent(code)}\n"
            f"PATCHES = [Patch({name!r}, 'a patch for a test', (Variant('only', {gate}, {body}),), {more})]\n"
        )
        self.patches(source, module=name.replace("-", "_") + "_module")

    def fingerprint(self, target: str) -> str | None:
        """The fingerprint of a target as the world's sources have it now."""
        module, _, path = target.partition(":")
        place = self.folder.joinpath(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        return fingerprints.of_source(file.read_text(encoding="utf-8"), path) if file.is_file() else None

    def settings(self, text: str) -> str:
        """A settings file, for ``ASCEND_PATCHES_CONFIG``."""
        return str(self.write("patches.toml", text))

    def python(
        self,
        code_or_args: str | Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        start: bool = False,
        path: Sequence[str | os.PathLike[str]] = (),
        cwd: str | os.PathLike[str] = os.sep,
    ) -> Result:
        """Run code, or arguments of an interpreter, in a clean process that has the world on its path."""
        if isinstance(code_or_args, str):
            code_or_args = "import json, sys\n" + (START if start else "") + textwrap.dedent(code_or_args)
        return run_python(code_or_args, path=[*path, self.folder], env=env, cwd=cwd)

    def command(self, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        """Run the ascend-patches command in the world."""
        return self.python(["-m", "ascend_patches", *arguments], env=env)

    def _fingerprints(self, target: str) -> tuple[str, ...]:
        found = self.fingerprint(target)
        return (found,) if found is not None else ()


class Environment:
    """A virtual environment that finds the toolkit and what it requires where this interpreter has them."""

    def __init__(self, folder: Path, *, with_toolkit: bool = True) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site_packages = folder / "lib" / version / "site-packages"
        self.path_file = self.site_packages / "0_paths.pth"
        if with_toolkit:
            self.see(CORE, sysconfig.get_path("purelib"))

    def see(self, *folders: str | os.PathLike[str]) -> None:
        """Have these folders on the path from now on; before any other .pth file is read."""
        self.path_file.write_text("".join(f"{os.fspath(folder)}\n" for folder in folders), encoding="utf-8")

    def run(
        self,
        code_or_args: str | Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        path: Sequence[str | os.PathLike[str]] = (),
    ) -> Result:
        """Run code, or an interpreter with arguments, in this environment; PYTHONPATH is ``path`` and nothing else."""
        if isinstance(code_or_args, str):
            code_or_args = ["-c", textwrap.dedent(code_or_args)]
        environ = clean_environ((), env)
        environ["PYTHONPATH"] = os.pathsep.join(os.fspath(each) for each in path)
        return run([self.python, *code_or_args], env=environ)

    def install_hook(self, *roots: str) -> None:
        """What ``ascend-patches install`` does."""
        (self.site_packages / start_hook.PTH_NAME).write_text(start_hook.pth_text(roots), encoding="utf-8")
