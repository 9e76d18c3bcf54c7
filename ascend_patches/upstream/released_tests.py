"""The tests of a release, which only its sdist has: brought through pip into the user's cache."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import PurePosixPath

from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import downloads
from ascend_patches.upstream.downloads import Wanted


def folder_of(name: str, version: str, wheels: str | None = None) -> str:
    """A folder with the ``tests`` of a release's sdist, from the cache, the folder ``wheels`` or pip.

    NotThereError where there is no sdist of this version.
    """
    kept = os.path.join(downloads.cache(), "..", "tests", f"{name}-{version}")
    if os.path.isdir(kept):
        return os.path.normpath(kept)
    with downloads.sdist(Wanted(name, version, ("sdist",)), wheels) as archive:
        unfinished = f"{archive}.tests"
        try:
            _unpack(archive, unfinished)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise AscendPatchesError(f"{os.path.basename(archive)}: its tests cannot be unpacked: {error}") from None
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        try:
            os.replace(unfinished, kept)
        except OSError:
            # Another process was first, and what it brought is the same.
            shutil.rmtree(unfinished, ignore_errors=True)
    return os.path.normpath(kept)


def of_unpacked(root: str) -> str | None:
    """A folder that was named as a release, where an sdist was unpacked into it with its tests."""
    there = os.path.isfile(os.path.join(root, "PKG-INFO")) and os.path.isdir(os.path.join(root, "tests"))
    return root if there else None


def _unpack(archive: str, into: str) -> None:
    os.makedirs(into)
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts[1:]
            stream = opened.extractfile(member) if member.isreg() and parts[:1] == ("tests",) else None
            if stream is None or ".." in parts:
                continue
            target = os.path.join(into, *parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                shutil.copyfileobj(stream, file)
