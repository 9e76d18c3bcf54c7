"""Compiles the null device once per source, torch and compiler, and keeps it in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from emulated_npu._errors import EmulatedNpuError

_HERE = Path(__file__).parent
_COMPILED = "null_device.cpp"
_READ = (_COMPILED, "aten.cpp", "device.cpp", "device.h", "torch_npu.cpp")
_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-w")
_NAME = "null_device.so"


class CannotBuildError(EmulatedNpuError):
    """The null device cannot be compiled here."""


def library() -> Path:
    """The compiled device; made now if the cache has none for this torch, this compiler and these sources."""
    compiler = _compiler()
    folder = _cache() / f"null-device-{_digest(compiler)}"
    built = folder / _NAME
    if built.is_file() and _ours(built):
        return built
    with _one_at_a_time(folder.with_name(f"{folder.name}.lock")):
        if not built.is_file():
            print("emulated_npu: compiling the null device, once (about a minute)", file=sys.stderr, flush=True)
            made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                _compile(compiler, made)
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    if not _ours(built):
        raise CannotBuildError(
            f"{built} belongs to another user or can be written by others, so it is not loaded. Remove {folder}."
        )
    return built


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _compiler() -> list[str]:
    words = shlex.split(os.environ.get("CXX", ""))
    candidates = [words] if words else [["g++"], ["clang++"], ["c++"]]
    for candidate in candidates:
        found = shutil.which(candidate[0])
        if found:
            return [found, *candidate[1:]]
    named = f"CXX names {words[0]!r}, which is not there" if words else "none of g++, clang++ and c++ is on the PATH"
    raise CannotBuildError(
        f"the null device is C++ and is compiled when it is first used, and there is no compiler: {named}. "
        "Install one (g++ 10 or later), or set CXX to it. The emulated NPU itself needs none."
    )


def _digest(compiler: list[str]) -> str:
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuildError(
            f"{' '.join(compiler)} --version fails: {error}. Set CXX to a working compiler."
        ) from error
    found = hashlib.sha256(version)
    # Two environments may have a torch of one version and different builds of it.
    found.update("\0".join([*compiler, *_FLAGS, torch.__version__, torch.__file__]).encode())
    for name in _READ:
        found.update((_HERE / name).read_bytes())
    return found.hexdigest()[:16]


def _cache() -> Path:
    """A folder that only this user can write to: what is in it is loaded into processes."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(root, "emulated_npu")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        safe = _ours(folder)
    except OSError:
        safe = False
    if not safe:
        raise CannotBuildError(
            f"the compiled null device is kept in {folder}, which this user cannot make, does not own, or which others "
            "can write to. Set XDG_CACHE_HOME to a folder of your own."
        )
    return folder


def _ours(path: Path) -> bool:
    """Whether this user owns a file or folder and no other user can write to it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & others


def _compile(compiler: list[str], folder: Path) -> None:
    root = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
    includes = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{root / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    target = ["-shared", "-o", str(folder / _NAME)]
    command = [*compiler, *_FLAGS, abi, *includes, str(_HERE / _COMPILED), *target, *libraries]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise CannotBuildError(
            f"compiling the null device for torch {torch.__version__} failed:\n{shlex.join(command)}\n"
            f"{done.stderr[-3000:]}"
        )
