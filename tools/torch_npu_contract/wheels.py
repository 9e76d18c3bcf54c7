"""Real torch_npu wheels: downloaded with pip once, kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .errors import CannotCheckError

# Reading works on any machine, so it takes the wheels of the architecture whose string constants are whole.
_TO_READ = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--platform=manylinux_2_28_aarch64",
    "--platform=manylinux2014_aarch64",
)


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ascend_patches" / "torch_npu"


def wheel_to_read(release: str, cache: Path) -> Path:
    return _wheel(release, cache / "to-read", [sys.executable], _TO_READ)


def unpacked_wheel_to_import(release: str, cache: Path, python: str) -> Path:
    """The folder that holds the release as that interpreter would install it."""
    home = cache / f"to-import-{_tag(python)}"
    wheel = _wheel(release, home, [python], ())
    folder = home / wheel.stem
    if not folder.is_dir():
        _unpack(wheel, folder)
    return folder


def _tag(python: str) -> str:
    code = "import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform(), sep='-')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _wheel(release: str, folder: Path, python: list[str], choice: tuple[str, ...]) -> Path:
    kept = sorted(folder.glob(f"torch_npu-{release}-*.whl"))
    if kept:
        return kept[0]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"downloading torch_npu {release} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        command = [*python, "-m", "pip", "download", "--quiet", "--no-deps", *choice, "--dest", unfinished]
        ran = subprocess.run([*command, f"torch-npu=={release}"], capture_output=True, text=True, check=False)
        wheels = list(Path(unfinished).glob("*.whl"))
        if ran.returncode != 0 or len(wheels) != 1:
            raise CannotCheckError(
                f"pip cannot download torch-npu=={release}. Look for typing errors in the release, and at the index "
                f"that pip is configured to use (pip config list). pip said:\n{ran.stderr.strip()}"
            )
        return Path(shutil.move(wheels[0], folder / wheels[0].name))


def _unpack(wheel: Path, folder: Path) -> None:
    """Into a folder that gets its name only when it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(whole)
        whole.rename(folder)
