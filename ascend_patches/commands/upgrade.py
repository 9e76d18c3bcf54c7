"""check, compare: what every patch would do on releases that are not installed here, before an upgrade."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ascend_patches import catalogue
from ascend_patches.commands import console
from ascend_patches.deciding import drift
from ascend_patches.deciding.decision import Decision
from ascend_patches.deciding.encoder_coverage import coverage
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.carried import is_carried
from ascend_patches.declaring.patch import Patch, Variant
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import AscendPatchesError
from ascend_patches.settings import reader
from ascend_patches.settings.model import Choice, Settings
from ascend_patches.upstream import named_releases
from ascend_patches.upstream.encoder_inventory import inventory
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.environment import here as this_environment
from ascend_patches.upstream.sources import Installation, Sources

_OURS = "ascend_patches"


class _Side(NamedTuple):
    """One release, or pair of releases, with what every patch would do on it."""

    name: str
    versions: dict[str, str | None]
    where: Environment
    code: Sources
    verified: str
    """Whether this pair is among the verified ones, in words."""
    outcomes: dict[str, _Outcome]


class _Outcome(NamedTuple):
    """What one patch would do on one side."""

    patch: Patch
    choice: Choice
    decision: Decision

    @property
    def word(self) -> str:
        return "applied" if self.decision.verdict == "apply" else self.decision.kind or "failed"

    @property
    def shown(self) -> str:
        return self.word if self.choice.enabled else f"{self.word} (off)"

    @property
    def encoders(self) -> tuple[str, ...]:
        """The parts in force where a variant has several: the models that they are for."""
        variant = self.decision.variant
        if self.word != "applied" or variant is None or len(variant.parts) < 2:
            return ()
        return tuple(part.name for part in self.decision.parts)


def check(arguments: argparse.Namespace) -> int:
    known, lock = catalogue.known(), Lock.read()
    chosen = reader.load(known.patches, arguments.config)
    asked = named_releases.resolve(arguments.releases, companions(lock), arguments.wheels)
    side = _look(asked.versions, asked.where, asked.code, known, chosen, lock)
    results: list[dict[str, Any]] = []
    for name, outcome in side.outcomes.items():
        moved = []
        if outcome.decision.kind in ("changed", "unsupported", "unverified"):
            moved = _moved(outcome.patch, outcome.decision.variant, side, lock, arguments.wheels)
        results.append(
            {
                "name": name,
                "enabled": outcome.choice.enabled,
                "outcome": outcome.word,
                "variant": outcome.decision.variant.name if outcome.decision.variant is not None else None,
                "reason": outcome.decision.reason,
                "ineffective": outcome.decision.ineffective,
                "carried": is_carried(outcome.patch),
                "from": known.origins[name],
                "moved": [one._asdict() for one in moved],
            }
        )
    ineffective = [str(result["name"]) for result in results if result["enabled"] and result["ineffective"]]
    uncovered = _uncovered(side)
    if arguments.json:
        about: dict[str, Any] = {
            "versions": side.versions,
            "verified": side.verified,
            "filled_in": asked.filled_in,
            "encoders_not_covered": uncovered,
        }
        print(json.dumps({**about, "patches": results}, indent=2))
    else:
        _print(side, asked.filled_in, results, ineffective, uncovered)
    return 1 if ineffective else 0


def compare(arguments: argparse.Namespace) -> int:
    known, lock = catalogue.known(), Lock.read()
    chosen = reader.load(known.patches, arguments.config)
    old, new = (_side(text, known, chosen, lock, arguments.wheels) for text in (arguments.old, arguments.new))
    rows = []
    for name in old.outcomes:
        before, after = old.outcomes[name], new.outcomes[name]
        rows.append(
            {
                "name": name,
                "enabled": [before.choice.enabled, after.choice.enabled],
                "outcome": [before.word, after.word],
                "change": _change(before, after),
                "reason": after.decision.reason,
                "ineffective": after.choice.enabled and after.decision.ineffective,
                "encoders_lost": [one for one in before.encoders if one not in after.encoders],
                "encoders_gained": [one for one in after.encoders if one not in before.encoders],
                "carried": is_carried(before.patch),
                "from": known.origins[name],
            }
        )
    if arguments.json:
        sides = [{"versions": side.versions, "verified": side.verified} for side in (old, new)]
        print(json.dumps({"old": sides[0], "new": sides[1], "patches": rows}, indent=2))
    else:
        print("\n".join(_comparison(old, new, rows)))
    return 1 if any(row["ineffective"] for row in rows) else 0


def _comparison(old: _Side, new: _Side, rows: list[dict[str, Any]]) -> Iterator[str]:
    lost = [row["name"] for row in rows if row["ineffective"]]
    if lost:
        yield f"From {old.name} to {new.name}: {', '.join(lost)} would be without effect."
    elif any(row["change"] != "as before" for row in rows):
        yield f"From {old.name} to {new.name}: every patch that is on keeps working or is not needed any more."
    else:
        yield f"From {old.name} to {new.name}: nothing changes for your settings."
    for side in (old, new):
        yield f"  {side.name}: {side.verified}"
    yield ""
    cells = [
        [name, old.outcomes[name].shown, new.outcomes[name].shown, row["change"]]
        for name, row in zip(old.outcomes, rows, strict=True)
    ]
    yield console.table(["patch", "old", "new", "what changes"], cells)
    droppable = [row["name"] for row in rows if row["outcome"][1] in ("native", "not needed") and row["enabled"][1]]
    if droppable:
        yield f"\nmay go from your settings once {old.name} is no longer in use: {', '.join(droppable)}"
    for row in rows:
        for what, encoders in (("no longer for", row["encoders_lost"]), ("now also for", row["encoders_gained"])):
            if encoders:
                yield f"{row['name']}: {what} {', '.join(encoders)}"
        if row["from"] != _OURS:
            carried = "carried from upstream, " if row["carried"] else ""
            yield f"{row['name']}: {carried}from {row['from']}"
    if lost:
        yield f"\nwhat moved, as a diff: ascend-patches check {' '.join(_requirements(new))}"


def _change(before: _Outcome, after: _Outcome) -> str:
    """What an operator has to know of one patch, in a few words."""
    if before.choice.enabled != after.choice.enabled:
        return f"your settings switch it {'on' if after.choice.enabled else 'off'} there"
    if not after.choice.enabled:
        return "as before" if before.word == after.word else f"would be {after.word} there, but it is off"
    if after.decision.ineffective:
        return f"without effect: {after.decision.reason}"
    if before.word != after.word:
        return {
            "applied": "becomes effective",
            "native": "becomes native: upstream has it",
            "not needed": f"not needed there: {after.decision.reason}",
        }.get(after.word, after.decision.reason)
    variants = [each.decision.variant.name if each.decision.variant is not None else "" for each in (before, after)]
    if after.word == "applied" and variants[0] != variants[1]:
        return f"as before, by variant {variants[1]}"
    return "as before"


def _side(text: str, known: Registry, chosen: Settings, lock: Lock, wheels: str | None) -> _Side:
    if text == "here":
        releases = [name for name in ("vllm", "vllm-ascend") if this_environment.installed(name) is not None]
        if not releases:
            raise AscendPatchesError(
                "here: neither vllm nor vllm-ascend is installed in this environment; name a release"
            )
        versions: dict[str, str | None] = {name: str(this_environment.installed(name)) for name in releases}
        return _look(versions, this_environment, Installation(), known, chosen, lock)
    arguments = [text] if os.path.exists(text) else [part for part in text.split(",") if part]
    asked = named_releases.resolve(arguments, companions(lock), wheels)
    return _look(asked.versions, asked.where, asked.code, known, chosen, lock)


def _look(
    versions: dict[str, str | None],
    where: Environment,
    code: Sources,
    known: Registry,
    chosen: Settings,
    lock: Lock,
) -> _Side:
    outcomes = {}
    for name, patch in sorted(known.patches.items()):
        choice = chosen.choice(patch, where)
        if chosen.mode == "off":
            choice = choice._replace(enabled=False)
        outcomes[name] = _Outcome(patch, choice, foresee(patch, choice, where, lock, code))
    named = [f"{name} {versions[name] or 'unknown'}" for name in ("vllm-ascend", "vllm") if name in versions]
    shown = " with ".join(named) or ", ".join(f"{name} {version or 'unknown'}" for name, version in versions.items())
    return _Side(shown, versions, where, code, _verified(versions, lock), outcomes)


def companions(lock: Lock) -> dict[str, str]:
    """The vLLM that each verified release of vllm-ascend goes with."""
    pairs = map(drift.named, lock.releases())
    return {pair["vllm-ascend"]: pair["vllm"] for pair in pairs if "vllm-ascend" in pair and "vllm" in pair}


def _verified(versions: dict[str, str | None], lock: Lock) -> str:
    """Whether these releases are verified together, and if not, which are."""
    asked = {name: (versions[name] or "").partition("+")[0] for name in ("vllm-ascend", "vllm") if name in versions}
    if not asked:
        return "neither vllm nor vllm-ascend"
    verified = [drift.named(release) for release in lock.releases()]
    if asked in verified:
        return "verified: the tests run the patches on exactly this"
    companion = companions(lock).get(asked.get("vllm-ascend", ""))
    if companion is not None and "vllm" in asked:
        return f"never verified together: this vllm-ascend was verified with vllm {companion}"
    leading = next(iter(asked))
    same_kind = {_text(pair): () for pair in verified if len(pair) == len(asked)}
    near = min(same_kind, key=lambda release: drift.distance(release, {leading: asked[leading]}), default="")
    return "not a verified release" + (f"; the nearest that is: {near}" if near else "")


def _text(pair: dict[str, str]) -> str:
    return " with ".join(f"{name} {version}" for name, version in pair.items())


def _requirements(side: _Side) -> list[str]:
    return [f"{name}=={side.versions[name]}" for name in ("vllm", "vllm-ascend") if name in side.versions]


def _moved(patch: Patch, variant: Variant | None, side: _Side, lock: Lock, wheels: str | None) -> list[drift.Moved]:
    """What moved against the variant that was proposed or, without one, the variant of the nearest release."""
    versions = {name: version for name, version in side.versions.items() if version}
    variants = [variant] if variant is not None else list(patch.variants)
    ranked = [
        (drift.nearest(lock.entries(patch.name, each.name), versions), each)
        for each in variants
        if lock.entries(patch.name, each.name) and (variant is not None or each.gate.could_hold(side.where))
    ]
    if not ranked:
        return []
    chosen = min(ranked, key=lambda pair: drift.distance(pair[0][0][0], versions))[1]
    entries = lock.entries(patch.name, chosen.name)
    return drift.moved(chosen.examined, side.code, entries, versions, lambda release: _known(release, wheels))


def _known(release: str, wheels: str | None) -> Sources | None:
    """The code of a release the lock names: what is installed, if it is that, else what pip brings."""
    wanted = drift.named(release)
    installation = Installation()
    if all(installation.version(name) == version for name, version in wanted.items()):
        return installation
    try:
        requirements = [f"{name}=={version}" for name, version in wanted.items()]
        return named_releases.resolve(requirements, wheels=wheels).code
    except AscendPatchesError:
        return None


def _uncovered(side: _Side) -> list[str]:
    """The encoders of the release whose attention will read its lengths in every layer, without a known reason."""
    decisions = [(name, outcome.decision) for name, outcome in side.outcomes.items() if outcome.choice.enabled]
    found = coverage(inventory(side.code), decisions, side.code)
    return [str(each.encoder.stack) for each in found if each.open and not each.reason]


def _print(
    side: _Side,
    filled_in: str,
    results: Sequence[dict[str, Any]],
    ineffective: Sequence[str],
    uncovered: Sequence[str],
) -> None:
    on = [result for result in results if result["enabled"]]
    applied = sum(result["outcome"] == "applied" for result in on)
    if ineffective:
        print(f"{side.name}: {', '.join(ineffective)} would be without effect")
    else:
        print(f"{side.name}: {applied} of the {len(on)} patches that are on would be applied, none is without effect")
    print(f"  {side.verified}")
    if filled_in:
        print(f"  {filled_in}")
    print()
    rows = []
    for result in results:
        outcome = result["outcome"] if result["enabled"] else f"{result['outcome']} (off)"
        rows.append([result["name"], outcome, result["variant"] or "-", result["reason"]])
    print(console.table(["patch", "outcome", "variant", "reason"], rows) if rows else "no patches are known")
    for result in results:
        if result["carried"]:
            print(f"\n{result['name']}: carried from upstream, from {result['from']}")
    if uncovered:
        are = "encoder of this release is" if len(uncovered) == 1 else "encoders of this release are"
        print(f"\n{len(uncovered)} {are} not covered: {', '.join(uncovered)}")
    for result in results:
        for moved in result["moved"]:
            heading = f"against {moved['was']}" if moved["was"] else "as it is now; no known release is at hand"
            print(f"\n== {result['name']}: {moved['target']}, {heading}\n{moved['text']}")
