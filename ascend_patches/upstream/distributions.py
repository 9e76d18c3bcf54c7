"""What is installed, read from the metadata on disk: nothing is imported, and nothing heavy to read it with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from ascend_patches.basics.paths import absolute
from ascend_patches.basics.value import Value


class Distribution(Value):
    """One ``*.dist-info`` or ``*.egg-info`` on the path."""

    name: str
    version: str | None
    metadata_path: str

    def read(self, file: str) -> str:
        """One of its metadata files, or nothing where it has none."""
        try:
            with open(os.path.join(self.metadata_path, file), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""


class Provider(Value):
    """Who provides an import package, where it lies, and which version that is."""

    version: str | None
    source: str
    location: str


@lru_cache(maxsize=1024)
def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(folder: str) -> tuple[Distribution, ...]:
    """The distributions whose metadata lies in one folder of the path."""
    try:
        return _listed(folder, os.stat(folder or os.curdir).st_mtime_ns)
    except (OSError, ValueError):  # an entry of the path may be no path at all
        return ()


@lru_cache(maxsize=32)
def _listed(folder: str, changed: int) -> tuple[Distribution, ...]:
    """What a folder held when it was last changed: each package is looked for in all the folders of the path."""
    found = []
    for entry in sorted(os.listdir(folder or os.curdir)):
        # What pip was interrupted while removing it leaves its name with a ~ in front.
        if entry.endswith((".dist-info", ".egg-info")) and not entry.startswith("~"):
            # dist-info is NAME-VERSION; egg-info is NAME, NAME-VERSION or NAME-VERSION-pyX.Y, and may be a plain file
            name, _, rest = entry.rpartition(".")[0].partition("-")
            found.append(Distribution(normalised(name), rest.split("-py")[0] or None, os.path.join(folder, entry)))
    return tuple(found)


def on_path() -> Iterator[Distribution]:
    """Every distribution on ``sys.path``, in the order in which Python would meet them."""
    # Python itself passes over what is no text.
    for folder in dict.fromkeys(entry for entry in sys.path if isinstance(entry, str)):
        yield from distributions(folder)


def find(name: str) -> Distribution | None:
    """The first distribution of that name on the path, with its version as its metadata states it."""
    wanted = normalised(name)
    for distribution in on_path():
        if distribution.name == wanted:
            return distribution._replace(version=stated_version(distribution))
    return None


def locate(package: str) -> str | None:
    """The folder (or file) an import package would be loaded from, without importing it."""
    loaded = sys.modules.get(package)
    spec: Any = getattr(loaded, "__spec__", None)
    if spec is None:
        spec = next(filter(None, (_found_by(finder, package) for finder in sys.meta_path)), None)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return str(folders[0]) if folders else spec.origin and str(spec.origin)


def _found_by(finder: Any, package: str) -> Any:
    """What a finder finds; that of Python 3.10 fails at bytes on ``sys.path``, and has found nothing then."""
    find_spec = getattr(finder, "find_spec", None)
    try:
        return find_spec(package, None, None) if find_spec is not None else None
    except TypeError:
        return None


def has_module(name: str) -> bool:
    """Whether a module could be imported, as far as the disk tells; nothing is imported to find out."""
    top, *rest = name.split(".")
    location = locate(top)
    if location is None:
        return False
    if not rest or not os.path.isdir(location):  # from an archive, say: only an import would tell
        return not rest or not os.path.isfile(location) or not location.endswith(".py")
    path = os.path.join(location, *rest)
    return os.path.isdir(path) or _is_module(path)


def provider(package: str) -> Provider | None:
    """Whichever distribution provides an import package, or the source tree it lies in; None when it is not there.

    Looked for where the package lies, so that of two installed vLLMs the one that would be imported is meant.
    """
    location = locate(package)
    if location is None:
        return None
    root = os.path.dirname(absolute(location))
    namespace = os.path.isdir(location) and not _is_module(os.path.join(location, "__init__"))
    for distribution in _likeliest_first(distributions(root), package):
        if _provides(distribution, package, namespace):
            return Provider(stated_version(distribution), os.path.basename(distribution.metadata_path), location)
    for distribution in _likeliest_first(on_path(), package):
        if _is_editable_install_of(distribution, root) and _may_provide(distribution, package):
            source = f"{os.path.basename(distribution.metadata_path)} (editable)"
            return Provider(stated_version(distribution), source, location)
    for path in (os.path.join(root, "PKG-INFO"), os.path.join(location, "_version.py")):
        version = _version_in_file(path)
        if version is not None:
            return Provider(version, path, location)
    if namespace:  # what an uninstalled package left behind, or a folder that happens to be on the path
        return None
    return Provider(None, f"{location} (no metadata beside it)", location)


def entry_points(group: str) -> Iterator[tuple[str, str, str]]:
    """``(distribution, name, value)`` of every entry point of a group; the first distribution of a name counts."""
    seen: set[str] = set()
    for distribution in on_path():
        if distribution.name in seen:
            continue
        seen.add(distribution.name)
        inside = False
        for line in map(str.strip, distribution.read("entry_points.txt").splitlines()):
            if line.startswith("["):
                inside = line == f"[{group}]"
            elif inside and "=" in line and not line.startswith(("#", ";")):
                name, _, value = line.partition("=")
                yield distribution.name, name.strip(), value.partition("[")[0].strip()


def _is_module(path: str) -> bool:
    from importlib.machinery import all_suffixes

    return any(os.path.isfile(path + suffix) for suffix in all_suffixes())


def _likeliest_first(found: Iterable[Distribution], package: str) -> list[Distribution]:
    name = normalised(package)
    return sorted(found, key=lambda one: (one.name != name, not one.name.startswith(name)))


def _provides(distribution: Distribution, package: str, namespace: bool) -> bool:
    # The sources of an egg-info may lie in a folder such as src/; a RECORD begins where the package is imported from.
    sources = distribution.read("SOURCES.txt") or distribution.read("installed-files.txt")
    record = distribution.read("RECORD") or sources
    if not record:
        return _may_provide(distribution, package)
    above = r"(?:[^/\n]+/)?" if record is sources else ""
    inside = "/" if namespace else r"(?:/__init__)?\.(?:[\w-]+\.)*(?:py|pyd|so)(?:,|\s*$)"
    return re.search(rf"^{above}{re.escape(package)}{inside}", record, re.MULTILINE) is not None


def _may_provide(distribution: Distribution, package: str) -> bool:
    top_level = distribution.read("top_level.txt").split()
    return package in top_level if top_level else distribution.name == normalised(package)


def _is_editable_install_of(distribution: Distribution, root: str) -> bool:
    text = distribution.read("direct_url.json")
    if '"editable"' not in text:
        return False
    import json
    from urllib.parse import unquote, urlsplit

    try:
        record = json.loads(text)
        source = unquote(urlsplit(record["url"]).path)
        editable = bool(record["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False
    # In a source tree the package lies at the top or in a folder such as src/.
    root, source = os.path.realpath(root), os.path.realpath(source)
    return editable and source in (root, os.path.dirname(root))


def stated_version(distribution: Distribution) -> str | None:
    text = distribution.read("METADATA") or distribution.read("PKG-INFO")
    if not text:
        return _version_in_file(distribution.metadata_path) or distribution.version
    return version_in_headers(text) or distribution.version


def version_in_headers(text: str) -> str | None:
    headers, _, _ = text.partition("\n\n")
    found = re.search(r"^Version:[ \t]*(\S+)[ \t]*$", headers, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else None


def _version_in_file(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return None
    if not path.endswith(".py"):
        return version_in_headers(text)
    found = re.search(r"^(?:__version__|version)\b[^\n]*=\s*['\"]([^'\"\n]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None
