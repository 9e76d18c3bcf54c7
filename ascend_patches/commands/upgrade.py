"""check: what every patch would do on a release that is not installed here."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ascend_patches.commands import console
from ascend_patches.deciding import drift
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring import patch as registry
from ascend_patches.declaring.patch import Patch, Variant
from ascend_patches.errors import AscendPatchesError
from ascend_patches.settings import reader as settings
from ascend_patches.upstream import named_releases
from ascend_patches.upstream.sources import Installation, Sources


def check(arguments: argparse.Namespace) -> int:
    asked = named_releases.resolve(arguments.releases)
    known = registry.known()
    chosen = settings.load(known.patches, arguments.config)
    lock = Lock.read()
    results: list[dict[str, Any]] = []
    for name, patch in sorted(known.patches.items()):
        choice = chosen.choice(patch, asked.where)
        foreseen = foresee(patch, choice, asked.where, lock, asked.code)
        moved = []
        if foreseen.kind in ("changed", "unsupported", "unverified"):
            moved = _moved(patch, foreseen.variant, asked, lock)
        results.append(
            {
                "name": name,
                "enabled": choice.enabled,
                "outcome": "applied" if foreseen.verdict == "apply" else foreseen.kind or "failed",
                "variant": foreseen.variant.name if foreseen.variant is not None else None,
                "reason": foreseen.reason,
                "ineffective": foreseen.ineffective,
                "moved": [one._asdict() for one in moved],
            }
        )
    ineffective = [result for result in results if result["enabled"] and result["ineffective"]]
    if arguments.json:
        print(json.dumps({"versions": asked.versions, "patches": results}, indent=2))
    else:
        _print(asked.versions, results)
    return 1 if ineffective else 0


def _moved(patch: Patch, variant: Variant | None, asked: named_releases.Asked, lock: Lock) -> list[drift.Moved]:
    """What moved against the variant that was proposed or, without one, the variant of the nearest release."""
    versions = {name: version for name, version in asked.versions.items() if version}
    variants = [variant] if variant is not None else list(patch.variants)
    ranked = [
        (drift.nearest(lock.entries(patch.name, each.name), versions), each)
        for each in variants
        if lock.entries(patch.name, each.name) and (variant is not None or each.gate.could_hold(asked.where))
    ]
    if not ranked:
        return []
    chosen = min(ranked, key=lambda pair: drift.distance(pair[0][0][0], versions))[1]
    return drift.moved(chosen.examined, asked.code, lock.entries(patch.name, chosen.name), versions, _known)


def _known(release: str) -> Sources | None:
    """The code of a release the lock names: what is installed, if it is that, else what pip brings."""
    wanted = drift.named(release)
    installation = Installation()
    if all(installation.version(name) == version for name, version in wanted.items()):
        return installation
    try:
        return named_releases.resolve([f"{name}=={version}" for name, version in wanted.items()]).code
    except AscendPatchesError:
        return None


def _print(versions: dict[str, str | None], results: list[dict[str, Any]]) -> None:
    print(", ".join(f"{name} {version or 'unknown'}" for name, version in versions.items()))
    print()
    rows = []
    for result in results:
        outcome = result["outcome"] if result["enabled"] else f"{result['outcome']} (off)"
        rows.append([result["name"], outcome, result["variant"] or "-", result["reason"]])
    print(console.table(["patch", "outcome", "variant", "reason"], rows) if rows else "no patches are known")
    for result in results:
        for moved in result["moved"]:
            heading = f"against {moved['was']}" if moved["was"] else "as it is now; no known release is at hand"
            print(f"\n== {result['name']}: {moved['target']}, {heading}\n{moved['text']}")
