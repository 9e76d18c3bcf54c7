"""Wheels and sdists: what is in them, checked against what they say is in them, onto disk."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from .errors import CorruptDistributionError

Keep = Callable[[PurePosixPath], bool]

_PYTHON_SUFFIXES = {".py", ".json", ".jinja"}
# Descriptions of compiled kernels, one per kernel: a quarter of some wheels, and nothing in Python reads them.
_KERNELS = "_cann_ops_custom"
_SIGNATURES = {"RECORD.jws", "RECORD.p7s"}


def everything(path: PurePosixPath) -> bool:
    """Keep every file."""
    return True


def python_files(path: PurePosixPath) -> bool:
    """Keep what the Python part of a package reads, and its metadata."""
    if path.parts[0].endswith(".dist-info"):
        return True
    return path.suffix in _PYTHON_SUFFIXES and _KERNELS not in path.parts


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unpack_wheel(wheel: Path, into: Path, keep: Keep) -> dict[str, str]:
    """Unpack the files to keep, each checked against the wheel's RECORD; their hashes by path."""
    hashes: dict[str, str] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            recorded = _recorded_hashes(wheel, archive)
            for member in archive.infolist():
                target = _installed_path(wheel, PurePosixPath(member.filename))
                if member.is_dir() or target is None or not keep(target):
                    continue
                content = archive.read(member)
                _check(wheel, member.filename, content, recorded)
                hashes[str(target)] = _write(into, target, content)
    except zipfile.BadZipFile as error:
        raise CorruptDistributionError(f"{wheel.name} is damaged: {error}. Fetch it again.") from error
    return hashes


def unpack_sdist(sdist: Path, into: Path, package: str, keep: Keep) -> dict[str, str]:
    """Unpack one package of an sdist as an installation would lay it out; the hashes of its files by path."""
    hashes: dict[str, str] = {}
    try:
        for path, content in _sdist_files(sdist):
            target = _installed_from_sdist(sdist, path, package)
            if target is not None and keep(target):
                hashes[str(target)] = _write(into, target, content)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorruptDistributionError(f"{sdist.name} is damaged: {error}. Fetch it again.") from error
    if not any(path.startswith(f"{package}/") for path in hashes):
        raise CorruptDistributionError(f"{sdist.name} holds no package named {package}.")
    return hashes


def _recorded_hashes(wheel: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    records = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD") and name.count("/") == 1]
    if len(records) != 1:
        raise CorruptDistributionError(f"{wheel.name} has {len(records)} RECORD files instead of one.")
    rows = csv.reader(io.StringIO(archive.read(records[0]).decode("utf-8")))
    return {row[0]: row[1] for row in rows if row}


def _check(wheel: Path, name: str, content: bytes, recorded: dict[str, str]) -> None:
    base = name.rpartition("/")[2]
    if ".dist-info/" in name and (base == "RECORD" or base in _SIGNATURES):
        return
    stated = recorded.get(name)
    if stated is None:
        raise CorruptDistributionError(f"{wheel.name} holds {name}, which its RECORD does not list.")
    algorithm, _, value = stated.partition("=")
    try:
        digest = hashlib.new(algorithm, content).digest()
    except ValueError as error:
        raise CorruptDistributionError(f"{wheel.name}: the RECORD gives no usable hash for {name}.") from error
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != value:
        raise CorruptDistributionError(f"{wheel.name}: {name} does not have the hash its RECORD gives. Fetch it again.")


def _installed_path(wheel: Path, path: PurePosixPath) -> PurePosixPath | None:
    """Where an installation would put a file of a wheel, or nothing for scripts, headers and data."""
    _refuse_escape(wheel, path)
    if not path.parts[0].endswith(".data"):
        return path
    if len(path.parts) > 2 and path.parts[1] in ("purelib", "platlib"):
        return PurePosixPath(*path.parts[2:])
    return None


def _sdist_files(sdist: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(sdist) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if stream is not None and path.parts:
                yield path, stream.read()


def _installed_from_sdist(sdist: Path, path: PurePosixPath, package: str) -> PurePosixPath | None:
    _refuse_escape(sdist, path)
    metadata = PurePosixPath(f"{sdist.name.removesuffix('.tar.gz')}.dist-info")
    if path == PurePosixPath("PKG-INFO"):
        return metadata / "METADATA"
    if path == PurePosixPath(f"{package}.egg-info/entry_points.txt"):
        return metadata / "entry_points.txt"
    return path if path.parts[0] == package else None


def _refuse_escape(archive: Path, path: PurePosixPath) -> None:
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise CorruptDistributionError(f"{archive.name} holds a file that would land elsewhere: {path}")


def _write(into: Path, path: PurePosixPath, content: bytes) -> str:
    target = into / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
