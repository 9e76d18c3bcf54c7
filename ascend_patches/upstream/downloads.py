"""Releases brought by pip into the user's cache: wheels, and sdists of which no code is run.

pip is asked, so that indexes, mirrors, certificates and proxies are those of the user's own settings. What pip says of
a failure is sorted into what a person can do about it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions
from ascend_patches.upstream.versions import parse

# Only the Python files are read, so a wheel for another machine and another Python does as well.
_FOR_OTHERS = (
    "--implementation=cp",
    "--python-version=3.11",
    *(f"--platform=manylinux{version}_x86_64" for version in ("_2_34", "_2_31", "_2_28", "_2_24", "_2_17", "2014")),
)
# Asked for a release that nobody made, pip names those that there are.
_OF_NO_RELEASE = "0+none"
_NO_BUILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "no_build")
_DAMAGED = (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError)
_NO_NETWORK = re.compile(
    r"Retrying \(|NewConnectionError|Name or service not known|Temporary failure in name resolution|Could not fetch URL"
    r"|Connection (?:refused|reset|aborted|timed out)|Max retries|ReadTimeout|ProxyError|not a trusted or secure host"
    r"|SSLError|CERTIFICATE_VERIFY_FAILED|Network is unreachable"
)
_REFUSED = re.compile(r"\b(?:401|403|407)\b[^\n]*")


class NotThereError(AscendPatchesError):
    """An index answers and has no such release; ``versions`` are those it has."""

    def __init__(self, versions: Sequence[str]) -> None:
        super().__init__("no such release")
        self.versions = tuple(versions)


class Wanted(NamedTuple):
    """A distribution by name, its version, or None for the newest, and in which forms it is looked for, in order."""

    name: str
    version: str | None
    forms: tuple[str, ...] = ("wheel", "foreign wheel", "sdist")

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


def bring(wanted: Wanted, wheels: str | None = None) -> str:
    """The path of a release's code: a wheel, or the folder that an sdist was unpacked into.

    From the folder ``wheels`` if one is named, else from the cache, else through pip: a wheel for this machine, a wheel
    for another one, the sdist. NotThereError where there is none of them.
    """
    if wheels is not None:
        return _in_wheelhouse(wheels, wanted)
    found = _in_folder(cache(), wanted)
    if found is not None:
        return found
    versions: list[str] = []
    for form in wanted.forms:
        with _incoming() as folder:
            try:
                _pip(wanted, form, folder)
            except NotThereError as error:
                versions += error.versions
                continue
            return _kept(folder)
    raise NotThereError(in_order(versions))


@contextmanager
def sdist(wanted: Wanted, wheels: str | None = None) -> Iterator[str]:
    """The path of a release's sdist as it was packed, in a folder that goes again; NotThereError without one."""
    with _incoming() as folder:
        if wheels is None:
            _pip(wanted, "sdist", folder)
            (entry,) = os.listdir(folder)
            yield os.path.join(folder, entry)
            return
        for entry in sorted(os.listdir(wheels)) if os.path.isdir(wheels) else ():
            named = re.fullmatch(r"(.+)-(\d[^-]*)\.tar\.gz", entry)
            if named and (distributions.normalised(named[1]), named[2]) == (wanted.name, wanted.version):
                yield shutil.copy(os.path.join(wheels, entry), folder)
                return
        raise NotThereError(())


def versions_of(wanted: Wanted, wheels: str | None = None) -> tuple[str, ...]:
    """The versions that there are of a distribution in its forms, from the oldest to the newest."""
    try:
        bring(wanted._replace(version=_OF_NO_RELEASE), wheels)
    except NotThereError as error:
        return error.versions
    return ()


def in_order(versions: Iterable[str]) -> list[str]:
    """Versions from the oldest to the newest, each once; what is no version comes first."""
    return sorted(set(versions), key=lambda text: (parse(text) is not None, parse(text) or text))


def _as_pip_says(form: str, name: str) -> tuple[str, ...]:
    if form == "sdist":
        return (f"--no-binary={name}", "--no-build-isolation")
    return ("--only-binary=:all:", *(_FOR_OTHERS if form == "foreign wheel" else ()))


def cache() -> str:
    """The folder of the user's cache that releases are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "ascend_patches", "wheels")


def _in_folder(folder: str, wanted: Wanted) -> str | None:
    """A release that lies in a folder: a wheel, or an sdist that is unpacked already."""
    if wanted.version is None or not os.path.isdir(folder):
        return None
    stem = f"{wanted.name.replace('-', '_')}-{wanted.version}"
    for entry in sorted(os.listdir(folder)):
        if entry == stem or (entry.endswith(".whl") and entry.startswith((f"{stem}-", f"{stem}+"))):
            return os.path.join(folder, entry)
    return None


def _in_wheelhouse(folder: str, wanted: Wanted) -> str:
    """A release out of a folder of wheels and sdists, the newest where no version is asked for."""
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise AscendPatchesError(f"--wheels {folder}: cannot be read: {error.strerror or error}") from None
    found: dict[str, str] = {}
    for entry in entries:
        named = re.fullmatch(r"([A-Za-z0-9_.-]+?)-(\d[^-]*)(?:-.+\.whl|\.tar\.gz)", entry)
        if named is not None and distributions.normalised(named[1]) == wanted.name:
            found.setdefault(named[2].partition("+")[0], os.path.join(folder, entry))
    versions = in_order(found)
    chosen = wanted.version if wanted.version is not None else versions[-1] if versions else None
    if chosen is None or chosen not in found:
        raise NotThereError(versions)
    path = found[chosen]
    if path.endswith(".whl"):
        return path
    with _incoming() as incoming:
        shutil.copy(path, incoming)
        return _kept(incoming)


@contextmanager
def _incoming() -> Iterator[str]:
    """A folder in the cache for what is not whole yet."""
    try:
        os.makedirs(cache(), exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".incoming-", dir=cache())
    except OSError as error:
        raise AscendPatchesError(
            f"{cache()}: cannot be written: {error.strerror}; set XDG_CACHE_HOME to a folder of yours"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pip(wanted: Wanted, form: str, folder: str) -> None:
    """Have pip put one file into a folder; its size is said as soon as pip knows it."""
    what = _as_pip_says(form, wanted.name)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--pre", "--progress-bar=off", "--retries=1"]
    command += ["--disable-pip-version-check", f"--dest={folder}", *what, str(wanted)]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if form == "sdist":
        environ["PYTHONPATH"] = _NO_BUILD
    said: list[str] = []
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        for line in pip.stdout or ():
            said.append(line)
            size = re.search(r"Downloading (?:\S*/)?(\S+) \(([^)]+)\)", line)
            if size is not None and sys.stderr is not None:
                print(f"downloading {size[1]}, {size[2]}", file=sys.stderr, flush=True)
    if pip.returncode:
        raise _failure(wanted, "".join(said))


def _failure(wanted: Wanted, said: str) -> AscendPatchesError:
    """What a person can do about what pip said."""
    complaints = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    last = (complaints or said.strip().splitlines() or ["nothing"])[-1][:300]
    if "No module named pip" in said:
        return AscendPatchesError(
            f"{wanted} cannot be downloaded: this Python has no pip. Install it (python -m ensurepip), or name a "
            "folder with the release: --wheels DIR"
        )
    versions = re.search(r"\(from versions: ([^)]*)\)", said)
    known = [] if versions is None or versions[1] == "none" else versions[1].split(", ")
    refused = _REFUSED.search("\n".join(line for line in said.splitlines() if "rror" in line or "WARNING" in line))
    if known:
        return NotThereError(known)
    if refused is not None:
        return AscendPatchesError(
            f"{wanted}: the package index refuses: {refused[0]}. Check the user name and the rights in pip's settings "
            "(pip config list)"
        )
    if _NO_NETWORK.search(said):
        return AscendPatchesError(
            f"{wanted}: no package index can be reached. Check the network, the proxy and pip's index (pip config "
            "list), or download the release elsewhere and name its folder: --wheels DIR"
        )
    if "No space left" in said:
        return AscendPatchesError(f"{wanted}: no space left in {cache()}; set XDG_CACHE_HOME to a folder with space")
    if "Permission denied" in said:
        return AscendPatchesError(f"{wanted}: {last}; give this user the right, or set XDG_CACHE_HOME and TMPDIR")
    if versions is not None:
        return NotThereError(())
    return AscendPatchesError(f"{wanted}: pip cannot bring it: {last}")


def _kept(folder: str) -> str:
    """What was brought, moved into the cache: a wheel as it is, an sdist unpacked."""
    (entry,) = os.listdir(folder)
    path = os.path.join(folder, entry)
    try:
        if entry.endswith(".whl"):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise AscendPatchesError(f"{entry}: what was downloaded is damaged, at {damaged}; try again")
        else:
            path = os.path.join(folder, "unpacked")
            entry = entry.removesuffix(".tar.gz")
            _unpack(os.path.join(folder, f"{entry}.tar.gz"), path)
            entry = "-".join([entry.rpartition("-")[0].replace("-", "_"), entry.rpartition("-")[2]])
    except _DAMAGED as error:
        raise AscendPatchesError(f"{entry}: damaged, or not an archive that can be read: {error}") from None
    kept = os.path.join(cache(), entry)
    if os.path.isdir(kept):
        shutil.rmtree(kept)
    os.replace(path, kept)
    return kept


def _unpack(sdist: str, into: str) -> None:
    """The Python files of an sdist, and what it says of itself, without its topmost folder."""
    os.makedirs(into)
    with tarfile.open(sdist) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts[1:]
            wanted = member.isreg() and parts and (parts[-1].endswith(".py") or parts == ("PKG-INFO",))
            stream = archive.extractfile(member) if wanted and ".." not in parts else None
            if stream is not None:
                target = os.path.join(into, *parts)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(stream, file)
