"""What moved upstream: the code of a target as it is, beside the nearest code that a variant knows."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from ascend_patches.deciding.lock import ABSENT, Entry
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.sources import Sources
from ascend_patches.upstream.versions import parse

CodeOf = Callable[[str], "Sources | None"]
"""The sources of a release that the lock names, or None where they are not to be had."""


class Moved(NamedTuple):
    """One function that is not as it was where the variant was verified."""

    target: str
    was: str
    text: str


def moved(
    targets: tuple[str, ...],
    code: Sources,
    entries: tuple[Entry, ...],
    versions: dict[str, str],
    known: CodeOf,
) -> list[Moved]:
    """The targets whose code differs from that of the nearest known release, each with a unified diff."""
    for release, entry in nearest(entries, versions):
        before = known(release)
        if before is not None:
            return [
                Moved(target, release, _diff(target, before, release, code))
                for target in targets
                if _fingerprint(code, target) != entry.fingerprints.get(target)
            ]
    return [Moved(target, "", _text(code, target)) for target in targets]


def named(release: str) -> dict[str, str]:
    """The versions in a release as the lock names it: ``vllm-ascend 0.18.0 with vllm 0.18.0``."""
    parts = (part.partition(" ") for part in release.split(" with "))
    return {name: version for name, _, version in parts}


def nearest(entries: tuple[Entry, ...], versions: dict[str, str]) -> list[tuple[str, Entry]]:
    """Releases that entries were seen in, the one nearest to some versions first."""
    seen = [(release, entry) for entry in entries for release in entry.seen_in]
    return sorted(seen, key=lambda pair: distance(pair[0], versions))


def distance(release: str, versions: dict[str, str]) -> tuple[int, ...]:
    """How far a release as the lock names it is from some versions, by the package it names first."""
    name, version = next(iter(named(release).items()))
    theirs, ours = parse(version), parse(versions.get(name))
    if theirs is None or ours is None:
        return (10**6,)
    padded = [(*version.release, 0, 0, 0)[:3] for version in (theirs, ours)]
    return tuple(abs(a - b) for a, b in zip(*padded, strict=True))


def _fingerprint(code: Sources, target: str) -> str | None:
    found = code.find(target)
    return ABSENT if isinstance(found, str) else fingerprints.of_node(found.node)


def _text(code: Sources, target: str) -> str:
    found = code.find(target)
    return found if isinstance(found, str) else textwrap.dedent(found.text)


def _diff(target: str, before: Sources, release: str, code: Sources) -> str:
    lines = difflib.unified_diff(
        _text(before, target).splitlines(),
        _text(code, target).splitlines(),
        f"{target} in {release}",
        f"{target} now",
        lineterm="",
    )
    return "\n".join(lines)
