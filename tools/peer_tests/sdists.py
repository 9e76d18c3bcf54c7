"""The tests in an sdist, unpacked into the user's cache once."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from releases import pip
from releases.store import default_root


def tests_of(distribution: str, version: str) -> Path:
    """The folder that holds ``tests`` as the sdist has it."""
    folder = default_root().with_name("peers") / f"{distribution}-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        downloads, whole = Path(unfinished, "downloads"), Path(unfinished, "whole")
        downloads.mkdir()
        with tarfile.open(pip.download_sdist(sys.executable, distribution, version, downloads)) as archive:
            for member in archive:
                inside = member.name.partition("/")[2]
                if member.isreg() and inside.startswith("tests/"):
                    member.name = inside
                    archive.extract(member, whole, filter="data")
        # It gets its name only when it is whole.
        whole.rename(folder)
    return folder
