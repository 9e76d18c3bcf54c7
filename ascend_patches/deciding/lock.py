"""The lock: which code, by fingerprint, each variant was verified against, and which code already has the idea."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ascend_patches.basics.value import Value
from ascend_patches.declaring.patch import Variant
from ascend_patches.errors import LockError

SCHEMA = 1
ABSENT = "absent"
"""Stands for a fingerprint where a release does not have what a variant relies on."""


class Entry(Value):
    """The fingerprints of a set of targets as they were seen together, and the releases they were seen in."""

    fingerprints: Mapping[str, str]
    seen_in: tuple[str, ...]


class PatchLock(Value):
    """What the lock knows of one patch."""

    variants: Mapping[str, tuple[Entry, ...]]
    native: tuple[Entry, ...]


class Lock:
    """A lock file's content."""

    def __init__(self, patches: Mapping[str, PatchLock]) -> None:
        self.patches = patches

    @classmethod
    def read(cls, file: str | None = None) -> Lock:
        """The lock that ships with this package, or another one."""
        file = file or os.path.join(os.path.dirname(__file__), "lock.json")
        try:
            with open(file, encoding="utf-8") as stream:
                document = json.load(stream)
            if document["schema"] != SCHEMA:
                raise LockError(f"{file}: its schema is {document['schema']!r}, this package reads {SCHEMA}")
            return cls({name: _patch_lock(entry) for name, entry in document["patches"].items()})
        except OSError as error:
            raise LockError(f"{file}: cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LockError(f"{file}: damaged: {type(error).__name__}: {error}; reinstall ascend-patches") from None

    def verified(self, patch: str, variant: Variant, live: Mapping[str, str]) -> Entry | None:
        """The entry that verifies a variant for the targets whose live fingerprints are given, if there is one.

        A rewrite may vouch for fingerprints itself; what it does not vouch for has to stand together in one entry.
        """
        declared: dict[str, tuple[str, ...]] = {rewrite.target: rewrite.fingerprints for rewrite in variant.rewrites}
        declared |= variant.known
        vouched = {target for target, fingerprint in live.items() if fingerprint in declared.get(target, ())}
        if len(vouched) == len(live):
            return Entry(live, ()) if vouched else None
        for entry in self.entries(patch, variant.name):
            if all(entry.fingerprints.get(target) == live[target] for target in live if target not in vouched):
                return entry
        return None

    def entries(self, patch: str, variant: str) -> tuple[Entry, ...]:
        known = self.patches.get(patch)
        return known.variants.get(variant, ()) if known is not None else ()

    def may_be_absent(self, patch: str, variant: str) -> frozenset[str]:
        """What a variant relies on and some release that it was verified on does not have: an override, a later helper.

        There, absence is part of what was verified, as code is elsewhere.
        """
        entries = self.entries(patch, variant)
        return frozenset(name for entry in entries for name, found in entry.fingerprints.items() if found == ABSENT)

    def native(self, patch: str) -> tuple[Entry, ...]:
        """The code that is known to have the patch's idea already."""
        known = self.patches.get(patch)
        return known.native if known is not None else ()

    def releases(self) -> tuple[str, ...]:
        """Every release any entry was seen in."""
        entries = (
            entry
            for patch in self.patches.values()
            for group in (*patch.variants.values(), patch.native)
            for entry in group
        )
        return tuple(sorted({release for entry in entries for release in entry.seen_in}))


def _patch_lock(document: Any) -> PatchLock:
    variants = {name: tuple(map(_entry, entries)) for name, entries in document.get("variants", {}).items()}
    return PatchLock(variants, tuple(map(_entry, document.get("native", []))))


def _entry(document: Any) -> Entry:
    return Entry(dict(document["fingerprints"]), tuple(document["seen_in"]))
