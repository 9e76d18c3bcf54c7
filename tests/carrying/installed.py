"""A carried patch and its release on the path of a process, as an installer would leave them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from carrying.made_releases import Files, change, code
from support import REPOSITORY

from ascend_patches.carrying import onto, writing


def installed(tmp_path: Path, release: Files, fixed: Files, name: str) -> dict[str, str]:
    """The environment of a process that has both; the release is in ``release``, the patch in ``written``."""
    there = code(tmp_path / "release", release)
    result = onto.carry(change({path: release[path] for path in fixed if path in release}, fixed), there)
    assert result.verdict == "carried", [each.as_json() for each in result.definitions]
    folder = Path(writing.write(result, there, str(tmp_path / "written"), name))
    package = name.replace("-", "_")
    metadata = folder / f"{package}-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n", encoding="utf-8")
    entry = f"[ascend_patches.patches]\n{package} = {package}:PATCH\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ASCEND_PATCHES")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (tmp_path / "release", folder, REPOSITORY)))
    return environment


def command(environment: dict[str, str], folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run one command of ascend-patches in that environment."""
    asked = [sys.executable, "-m", "ascend_patches", *map(str, words)]
    return subprocess.run(asked, env=environment, cwd=folder, capture_output=True, text=True)
