"""Downloads through pip, so that indexes, mirrors, certificates and proxies are those of the user's own settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import DownloadError

# The Python files of a release are the same in every wheel of it, so one kind of wheel serves every interpreter and
# every machine: the one that every supported release was published as.
_ONE_WHEEL_FOR_ALL = [
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    *(
        f"--platform={platform}_x86_64"
        for platform in (
            "manylinux_2_34",
            "manylinux_2_28",
            "manylinux_2_24",
            "manylinux_2_17",
            "manylinux2014",
            "manylinux1",
        )
    ),
]
_NO_BUILD = Path(__file__).parent.parent.parent / "ascend_patches" / "upstream" / "no_build"


def download_wheel(python: str, name: str, version: str, into: Path) -> Path:
    """Some wheel of a release: good for its Python files only."""
    _download(python, [*_ONE_WHEEL_FOR_ALL, f"{name}=={version}"], into)
    return _only_file(into, f"{name}=={version}")


def download_sdist(python: str, name: str, version: str, into: Path) -> Path:
    """The sdist of a release, without running any of its code."""
    arguments = [f"--no-binary={name}", "--no-build-isolation", f"{name}=={version}"]
    _download(python, arguments, into, python_path=str(_NO_BUILD))
    return _only_file(into, f"{name}=={version}")


def download_installable(python: str, requirements: Sequence[str], into: Path) -> list[Path]:
    """The wheels that pip would install in the interpreter ``python``, in one go."""
    _download(python, ["--only-binary=:all:", *requirements], into)
    return sorted(into.iterdir())


def _download(python: str, arguments: Sequence[str], into: Path, python_path: str = "") -> None:
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    # A PYTHONPATH made for the releases must not give pip its packages.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if python_path:
        environment["PYTHONPATH"] = python_path
    finished = subprocess.run(
        [*command, f"--dest={into}", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if finished.returncode != 0:
        what = " ".join(argument for argument in arguments if not argument.startswith("--"))
        raise DownloadError(f"pip could not download {what}. It said:\n{_complaint(finished.stdout)}")


def _complaint(output: str) -> str:
    """What pip said last, without the notices about indexes that do not know a name."""
    lines = [line for line in output.splitlines() if line.strip() and "is ignored: it is" not in line]
    return "\n".join(f"  {line[:400]}" for line in lines[-12:]) or "  (nothing)"


def _only_file(folder: Path, requirement: str) -> Path:
    files = sorted(folder.iterdir())
    if len(files) != 1:
        raise DownloadError(f"pip downloaded {len(files)} files for {requirement} instead of one.")
    return files[0]
