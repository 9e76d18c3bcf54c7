"""Keep ascend_patches/deciding/lock.json: which code each variant of each patch was verified against, by release.

    tools/lock                  compare every supported release with the lock; exit code 1 where they differ
    tools/lock --write          enter releases whose code is known already, and drop what no release has any more
    tools/lock --accept [NAME]  run the tests of what is unknown (on these releases), and enter what passes
    tools/lock --trust          enter what is unknown without a test: for a patch that is being written

Nothing is imported: the code is read from the releases that `tools/upstream fetch` brought.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch_environment import go_on_with_torch

from ascend_patches.deciding import drift
from ascend_patches.deciding.lock import ABSENT, SCHEMA, Entry, Lock, PatchLock
from ascend_patches.declaring.patch import Patch
from ascend_patches.patches import PATCHES
from ascend_patches.upstream.sources import Roots, Sources

from . import errors
from .compatibility import environment, release, sources
from .pairs import PAIRS, Pair
from .runner import interpreter
from .store import Store, default_root

TOOLS = Path(__file__).resolve().parent.parent
LOCK_FILE = TOOLS.parent / "ascend_patches" / "deciding" / "lock.json"
NATIVE = "(native)"


@dataclass
class Seen:
    """The code that a release has where a patch looks: for one variant, or for what is native there."""

    patch: Patch
    variant: str
    pair: Pair
    targets: tuple[str, ...]
    relied_on: tuple[str, ...] = ()
    """Those that some releases may lack."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.patch.name}, {self.variant}, on {release(self.pair)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="enter releases whose code is known")
    parser.add_argument("--accept", nargs="*", metavar="NAME", help="test what is unknown and enter what passes")
    parser.add_argument("--trust", action="store_true", help="enter what is unknown without running its tests")
    parser.add_argument("--patch", metavar="PATCH", help="only this patch")
    arguments = parser.parse_args()
    if arguments.accept is not None:
        go_on_with_torch()
    store = Store(default_root(), interpreter())
    patches = [patch for patch in PATCHES if arguments.patch in (None, patch.name)]
    kept = [patch for patch in PATCHES if patch not in patches]
    try:
        code = {release(pair): sources(pair, store) for pair in PAIRS}
    except errors.ReleasesError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    old = Lock.read(str(LOCK_FILE))
    seen = [one for patch in patches for pair in PAIRS for one in look(patch, pair, code[release(pair)])]
    refuse_what_is_nowhere(seen)
    broken = [one for one in seen if one.problems]
    unknown = [one for one in seen if not one.problems and not is_known(one, old)]
    accepted: list[Seen] = []
    if arguments.accept is not None:
        names = set(arguments.accept) or {one.pair.name for one in unknown}
        accepted = accept([one for one in unknown if one.pair.name in names], old, seen, kept)
        unknown = [one for one in unknown if one not in accepted]
    if arguments.trust:
        accepted, unknown = unknown, []
    known = [one for one in seen if not one.problems and one not in unknown]
    text = written(known, old, kept)
    for one in broken:
        print(f"no such code: {one.title}: {'; '.join(one.problems)}")
    for one in unknown:
        show(one, old, code)
    changed = text != LOCK_FILE.read_text(encoding="utf-8")
    if changed and (arguments.write or accepted):
        LOCK_FILE.write_text(text, encoding="utf-8")
        changed = False
    if changed:
        print("the lock differs from what the releases have: tools/lock --write enters what is known")
    print(f"{len(known)} known, {len(unknown)} unknown, {len(broken)} without their code, in {len(PAIRS)} releases")
    return 1 if unknown or broken or changed else 0


def look(patch: Patch, pair: Pair, code: Sources) -> list[Seen]:
    """What a patch would meet on a release."""
    where = environment(pair)
    found = [Seen(patch, variant.name, pair, variant.examined, variant.relies_on) for variant in patch.proposed(where)]
    if len(found) > 1:
        found[0].problems.append(f"several variants fit: {', '.join(one.variant for one in found)}")
    exemption = patch.exemption(where)
    if exemption is not None and found:
        found[0].problems.append(f"a variant fits and an exemption too: {exemption.why}")
    if exemption is not None and exemption.native and exemption.targets:
        found.append(Seen(patch, NATIVE, pair, exemption.targets))
    for one in found:
        for target in one.targets:
            kind, text = code.look(target)
            if kind == "code":
                one.fingerprints[target] = text
            elif kind == "absent" and target in one.relied_on:
                one.fingerprints[target] = ABSENT
            else:
                one.problems.append(text)
    return found


def refuse_what_is_nowhere(seen: list[Seen]) -> None:
    """What a patch relies on has to be there on one release at least: else its name is misspelt."""
    there = {(one.patch.name, name) for one in seen for name in _there(one)}
    for one in seen:
        nowhere = [name for name in one.relied_on if (one.patch.name, name) not in there]
        one.problems += [f"relies on {name}, which no release has" for name in nowhere]


def _there(one: Seen) -> list[str]:
    return [name for name, fingerprint in one.fingerprints.items() if fingerprint != ABSENT]


def is_known(one: Seen, lock: Lock) -> bool:
    return any(dict(entry.fingerprints) == one.fingerprints for entry in entries(one, lock))


def entries(one: Seen, lock: Lock) -> tuple[Entry, ...]:
    return lock.native(one.patch.name) if one.variant == NATIVE else lock.entries(one.patch.name, one.variant)


def accept(unknown: list[Seen], old: Lock, seen: list[Seen], kept: Iterable[Patch] = ()) -> list[Seen]:
    """Those whose tests pass with them, and ``kept`` patches as before, in the lock. It is left as it was."""
    accepted: list[Seen] = []
    before = LOCK_FILE.read_text(encoding="utf-8")
    known = [one for one in seen if not one.problems and is_known(one, old)]
    for pair in dict.fromkeys(one.pair for one in unknown):
        candidates = [one for one in unknown if one.pair == pair]
        LOCK_FILE.write_text(written([*known, *accepted, *candidates], old, kept), encoding="utf-8")
        try:
            command = [sys.executable, "-m", "pytest", str(TOOLS.parent / "tests" / "on_releases"), "-m", "upstream"]
            command += ["--every-release", "-k", pair.name.replace("==", "-")]
            passed = subprocess.run(command, env={**os.environ, "CI": ""}).returncode == 0
        finally:
            LOCK_FILE.write_text(before, encoding="utf-8")
        print(
            f"{'accepted' if passed else 'NOT accepted, its tests fail'}: {', '.join(one.title for one in candidates)}"
        )
        if passed:
            accepted += candidates
    return accepted


def written(known: Iterable[Seen], old: Lock, kept: Iterable[Patch] = ()) -> str:
    """The lock file with these entries; releases that share their code share an entry."""
    patches: dict[str, PatchLock] = {patch.name: old.patches[patch.name] for patch in kept if patch.name in old.patches}
    grouped: dict[str, dict[str, dict[str, list[str]]]] = {}
    for one in known:
        key = json.dumps(one.fingerprints, sort_keys=True)
        by_variant = grouped.setdefault(one.patch.name, {}).setdefault(one.variant, {})
        by_variant.setdefault(key, []).append(release(one.pair))
    for name, variants in grouped.items():
        made = {
            variant: tuple(Entry(json.loads(key), tuple(seen_in)) for key, seen_in in groups.items())
            for variant, groups in variants.items()
        }
        native = made.pop(NATIVE, ())
        patches[name] = PatchLock(made, native)
    document = {
        "schema": SCHEMA,
        "patches": {
            name: {
                "variants": {variant: list(map(_shown, found)) for variant, found in sorted(patch.variants.items())},
                "native": list(map(_shown, patch.native)),
            }
            for name, patch in sorted(patches.items())
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _shown(entry: Entry) -> dict[str, object]:
    return {"seen_in": list(entry.seen_in), "fingerprints": dict(sorted(entry.fingerprints.items()))}


def show(one: Seen, lock: Lock, code: dict[str, Roots]) -> None:
    """An unknown code, with what differs from the nearest release that is known."""
    print(f"unknown code: {one.title}")
    versions = {"vllm": one.pair.vllm} | ({"vllm-ascend": one.pair.ascend} if one.pair.ascend else {})
    here = code[release(one.pair)]
    for moved in drift.moved(one.targets, here, entries(one, lock), versions, code.get):
        print(f"-- against {moved.was or 'nothing, no release is known yet'}\n{moved.text}\n")
