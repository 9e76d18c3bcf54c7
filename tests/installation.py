"""An environment with the toolkit installed in it, as a deployment has it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from support import REPOSITORY, Environment


def installed_beside_what_is_here(folder: Path, *more: Path) -> Environment:
    """A virtual environment that finds what this interpreter has, and ``more``, and has the toolkit installed."""
    environment = Environment(folder / "venv", with_toolkit=False)
    environment.see(*(path for path in sys.path if path.endswith("site-packages")), *more)
    # From a copy: a build leaves folders behind.
    sources = folder / "sources"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "tests", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, sources, ignore=left_out)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        environment.site_packages,
    ]
    subprocess.run([*pip, sources, sources / "emulated_npu"], check=True)
    return environment
