"""Which variant of a patch fits, if any: the version proposes, the fingerprints decide.

This is the whole rule, in one function without side effects. Activation asks it about live code, ``explain`` and
``status`` about code on disk that nobody has imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from ascend_patches.environment import Environment
from ascend_patches.lock import Lock
from ascend_patches.registry import Patch, Variant


class Finding(NamedTuple):
    """What is known of a target's code."""

    kind: Literal["code", "pending", "absent", "no source"]
    text: str = ""
    """Its fingerprint where there is code, else what is the matter."""


Look = Callable[[str], Finding]
"""Finds out about a target."""

Locatable = Callable[[str], bool]
"""Tells whether a module is there to be imported."""


class Decision(NamedTuple):
    """The outcome for one patch."""

    verdict: Literal["apply", "wait", "skip", "fail"]
    variant: Variant | None
    reason: str
    kind: Literal["", "native", "not needed", "changed", "lying version", "unverified"] = ""


class _Fit(NamedTuple):
    """How a variant's targets compare with what is known."""

    pending: tuple[str, ...]
    problems: tuple[str, ...]
    live: dict[str, str]
    seen_in: tuple[str, ...] | None

    @property
    def nothing_known(self) -> bool:
        return not self.live and not self.problems

    @property
    def fits_so_far(self) -> bool:
        return not self.problems and self.seen_in is not None

    @property
    def exact(self) -> bool:
        return self.fits_so_far and not self.pending


def decide(patch: Patch, where: Environment, look: Look, lock: Lock, unknown: str, locatable: Locatable) -> Decision:
    """Choose a variant of a patch, or say why there is none to choose (yet)."""
    candidates = [variant for variant in patch.variants if variant.gate.could_hold(where)]
    if not candidates:
        reasons = (f"{variant.name}: {variant.gate.judge(where).why}" for variant in patch.variants)
        return Decision("skip", None, "not for this environment: " + "; ".join(reasons), "not needed")
    proposed = patch.proposed(where)
    if len(proposed) > 1:
        names = " and ".join(variant.name for variant in proposed)
        return Decision("fail", None, f"its declaration is ambiguous here: variants {names} both fit")
    first = proposed[0] if proposed else None
    fits = {variant.name: _compare(patch, variant, look, lock) for variant in candidates}

    if first is not None:
        fit = fits[first.name]
        if fit.fits_so_far:
            return Decision("apply", first, _verified(first, where, fit))
        if fit.nothing_known and all(map(locatable, first.modules)):
            return Decision("wait", first, f"variant {first.name} fits: {first.gate.judge(where).why}")

    exact = [variant for variant in candidates if variant is not first and fits[variant.name].exact]
    if len(exact) == 1:
        fit = fits[exact[0].name]
        why = first.gate.judge(where).why if first is not None else exact[0].gate.judge(where).why
        reason = f"its code is that of {_releases(fit)}, although {why}: the version string is not to be trusted"
        return Decision("apply", exact[0], reason, "lying version")

    for entry in lock.native(patch.name):
        findings = {target: look(target) for target in entry.fingerprints}
        if all(found == Finding("code", entry.fingerprints[target]) for target, found in findings.items()):
            return Decision(
                "skip", None, f"native: this code has it already, as {', '.join(entry.seen_in)} had", "native"
            )

    if first is None:
        undecided = [
            variant for variant in candidates if fits[variant.name].pending and not fits[variant.name].problems
        ]
        why = "; ".join(dict.fromkeys(variant.gate.judge(where).why for variant in candidates))
        if any(all(map(locatable, variant.modules)) for variant in undecided):
            return Decision(
                "wait",
                None,
                f"no variant is for these versions ({why}); the code decides when it is imported",
            )
        return Decision(
            "skip", None, f"no variant is for these versions ({why}), and none knows the code", "not needed"
        )

    fit = fits[first.name]
    if fit.problems:
        return Decision("skip", first, f"upstream changed: {'; '.join(fit.problems)}", "changed")
    if fit.nothing_known:
        missing = [module for module in first.modules if not locatable(module)]
        return Decision("skip", first, f"upstream changed: there is no module {', '.join(missing)}", "changed")
    if unknown == "apply":
        return Decision(
            "apply", first, f"not verified: {_unverified(patch, fit)}, but the settings say so", "unverified"
        )
    return Decision("skip", first, f"upstream changed: {_unverified(patch, fit)}", "changed")


def _compare(patch: Patch, variant: Variant, look: Look, lock: Lock) -> _Fit:
    pending: list[str] = []
    problems: list[str] = []
    live: dict[str, str] = {}
    for target in variant.targets:
        kind, text = look(target)
        if kind == "code":
            live[target] = text
        elif kind == "pending":
            pending.append(target)
        elif kind == "absent":
            problems.append(text)
        else:
            live[target] = f"({text})"
    entry = lock.verified(patch.name, variant, live) if live else None
    return _Fit(tuple(pending), tuple(problems), live, entry.seen_in if entry is not None else None)


def _verified(variant: Variant, where: Environment, fit: _Fit) -> str:
    return f"variant {variant.name} fits: {variant.gate.judge(where).why}; its code is that of {_releases(fit)}"


def _releases(fit: _Fit) -> str:
    return ", ".join(fit.seen_in or ("the patch's own declaration",))


def _unverified(patch: Patch, fit: _Fit) -> str:
    code = ", ".join(f"{target} {fingerprint}" for target, fingerprint in fit.live.items())
    return f"never verified against this code ({code}); see: ascend-patches diff {patch.name}"
