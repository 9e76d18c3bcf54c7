"""Which variant of a patch fits, if any: the version proposes, the fingerprints decide.

This is the whole rule, in one function without side effects. Activation asks it about live code, ``explain`` and
``status`` about code on disk that is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Literal

from ascend_patches.basics.value import Value
from ascend_patches.deciding.lock import ABSENT, Entry, Lock
from ascend_patches.declaring.patch import Part, Patch, Variant
from ascend_patches.declaring.target import Target
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.finding import Finding

Kind = Literal["", "native", "not needed", "unsupported", "changed", "lying version", "unverified"]
"""What kind of outcome it is; "unsupported" and "changed" leave a patch that is on without effect."""


Look = Callable[[Target], Finding]
"""Finds out about a target."""

Locatable = Callable[[str], bool]
"""Tells whether a module is there to be imported."""


class Decision(Value):
    """The outcome for one patch."""

    verdict: Literal["apply", "wait", "skip", "fail"]
    variant: Variant | None
    reason: str
    kind: Kind = ""
    pending: tuple[Target, ...] = ()
    """What the variant has to know and what is not imported yet."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the variant that are to be applied: all that they need is imported."""
        if self.verdict != "apply" or self.variant is None:
            return ()
        return self.variant.parts_without(self.pending)

    @property
    def ineffective(self) -> bool:
        """Whether a patch that is on has no effect, and neither a setting nor an exemption says why."""
        return self.verdict == "fail" or self.kind in ("unsupported", "changed")


class _Fit(Value):
    """How a variant's targets compare with what is known."""

    pending: tuple[Target, ...]
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

    def shows(self, variant: Variant) -> bool:
        """Whether the code of one of its parts at least is all there, and nothing speaks against the others."""
        return self.fits_so_far and bool(variant.parts_without(self.pending))

    def may_turn_out(self, patch: Patch) -> bool:
        """Whether an import of a module that the patch watches may show that this is the code."""
        watched = all(target.module in patch.watched for target in self.pending)
        return bool(self.pending) and watched and (self.fits_so_far or self.nothing_known)


def decide(patch: Patch, where: Environment, look: Look, lock: Lock, unknown: str, locatable: Locatable) -> Decision:
    """Choose a variant of a patch, or say why there is none to choose (yet)."""
    locatable = cache(locatable)
    exemption = patch.exemption(where)
    exempt: Kind = "native" if exemption is not None and exemption.native else "not needed"
    candidates = [variant for variant in patch.variants if variant.gate.could_hold(where)]
    if not candidates and exemption is not None:
        return Decision("skip", None, exemption.why, exempt)
    if not candidates:
        return Decision("skip", None, f"not for this environment: {_unmet(patch, where)}", "not needed")
    proposed = patch.proposed(where)
    if len(proposed) > 1:
        names = " and ".join(variant.name for variant in proposed)
        return Decision("fail", None, f"its declaration is ambiguous here: variants {names} both fit")
    first = proposed[0] if proposed else None
    if first is not None:
        fit = _compare(patch, first, look, lock, locatable)
        if fit.fits_so_far:
            return _as_far_as_imported(first, _verified(first, where, fit), "", fit)
        if fit.nothing_known:
            reason = f"variant {first.name} fits: {first.gate.judge(where).why}"
            return Decision("wait", first, reason, pending=fit.pending)

    others = [variant for variant in candidates if variant is not first]
    fits = {variant.name: _compare(patch, variant, look, lock, locatable) for variant in others}
    known_by = [variant for variant in others if fits[variant.name].shows(variant)]
    if len(known_by) == 1:
        found = known_by[0]
        return _by_code(found, first if first is not None else found, where, fits[found.name])

    natives = [_compare_native(entry, look, locatable) for entry in (*lock.native(patch.name), *_declared(patch))]
    for native in natives:
        if native.exact:
            return Decision("skip", None, f"native: this code has it already, as {_releases(native)} had", "native")

    if first is not None:
        why = f"variant {first.name} is for these versions, but not for this code"
    elif exemption is not None:
        why = exemption.why
    else:
        unmet = "; ".join(dict.fromkeys(variant.gate.judge(where).why for variant in candidates))
        why = f"no variant is for these versions ({unmet})"
    if any(one.may_turn_out(patch) for one in (*fits.values(), *natives)):
        return Decision("wait", None, f"{why}; the code that is still to be imported decides")
    if first is None and exemption is not None:
        return Decision("skip", None, why, exempt)
    if first is None:
        return Decision("skip", None, f"{why}, and none knows the code", "unsupported")

    if fit.problems:
        return Decision("skip", first, f"upstream changed: {'; '.join(fit.problems)}", "changed")
    if unknown == "apply":
        reason = f"not verified: {_unverified(patch, first, fit, lock)}, but the settings say so"
        return _as_far_as_imported(first, reason, "unverified", fit)
    return Decision("skip", first, f"upstream changed: {_unverified(patch, first, fit, lock)}", "changed")


def _by_code(found: Variant, proposed: Variant, where: Environment, fit: _Fit) -> Decision:
    """Take the one variant that knows the code, although the versions may propose another or none."""
    proposal = proposed.gate.judge(where)
    known = f"its code is that of {_releases(fit)}"
    if found.gate.needs_torch_npu(where):
        return Decision("wait", None, f"variant {found.name} knows the code, but {found.gate.judge(where).why}")
    if proposal.holds is None:
        return _as_far_as_imported(found, f"{known}; {proposal.why}", "", fit)
    reason = f"{known}, although {proposal.why}: the version string is not to be trusted"
    return _as_far_as_imported(found, reason, "lying version", fit)


def _declared(patch: Patch) -> list[Entry]:
    """The code that the patch itself declares to have its idea already."""
    return [Entry(each.fingerprints, (each.why,)) for each in patch.exemptions if each.native and each.fingerprints]


def _as_far_as_imported(variant: Variant, reason: str, kind: Kind, fit: _Fit) -> Decision:
    """Apply the parts of which all is there; where there are none, wait for one."""
    if variant.parts_without(fit.pending):
        return Decision("apply", variant, reason, kind, fit.pending)
    modules = ", ".join(dict.fromkeys(target.module for target in fit.pending))
    return Decision("wait", variant, f"waiting for the import of {modules}; {reason}", kind, fit.pending)


def _compare(patch: Patch, variant: Variant, look: Look, lock: Lock, locatable: Locatable) -> _Fit:
    fit = _found(variant.examined, look, locatable, lock.may_be_absent(patch.name, variant.name))
    entry = lock.verified(patch.name, variant, fit.live) if fit.live else None
    return fit._replace(seen_in=entry.seen_in if entry is not None else None)


def _compare_native(entry: Entry, look: Look, locatable: Locatable) -> _Fit:
    fit = _found(entry.fingerprints, look, locatable)
    same = all(entry.fingerprints[target] == fingerprint for target, fingerprint in fit.live.items())
    return fit._replace(seen_in=entry.seen_in if fit.live and same else None)


def _found(
    targets: Iterable[str], look: Look, locatable: Locatable, may_be_absent: Collection[str] = frozenset()
) -> _Fit:
    pending: list[Target] = []
    problems: list[str] = []
    live: dict[str, str] = {}
    for target in map(Target, targets):
        kind, text = look(target)
        if kind == "code":
            live[target] = text
        elif kind == "no source":
            live[target] = f"({text})"
        elif kind == "wrapped" or (kind == "absent" and target not in may_be_absent):
            problems.append(text)
        elif kind == "pending" and locatable(target.module):
            pending.append(target)
        elif target in may_be_absent:
            live[target] = ABSENT
        else:
            problems.append(f"there is no module {target.module}")
    return _Fit(tuple(pending), tuple(dict.fromkeys(problems)), live, None)


def _unmet(patch: Patch, where: Environment) -> str:
    """Why no variant's gate can hold; a reason that all share is said once."""
    reasons = [(variant.name, variant.gate.judge(where).why) for variant in patch.variants]
    if len({why for _, why in reasons}) == 1:
        return reasons[0][1]
    parts = dict.fromkeys(part for _, why in reasons for part in why.split("; "))
    if all(part.endswith(" is not installed") for part in parts):
        return "; ".join(parts)
    names_of: dict[str, list[str]] = {}
    for name, why in reasons:
        names_of.setdefault(why, []).append(name)
    return "; ".join(f"{_few(names)}: {why}" for why, names in names_of.items())


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[-1]} and {len(names) - 2} other variants"


def _verified(variant: Variant, where: Environment, fit: _Fit) -> str:
    return f"variant {variant.name} fits: {variant.gate.judge(where).why}; its code is that of {_releases(fit)}"


def _releases(fit: _Fit) -> str:
    names = list(fit.seen_in or ("the patch's own declaration",))
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[-1]} and {len(names) - 2} other releases"


def _unverified(patch: Patch, variant: Variant, fit: _Fit, lock: Lock) -> str:
    """Which code is not the code that was verified, and what was."""
    expected = _nearest_known(patch, variant, fit, lock)
    moved = [target for target, fingerprint in fit.live.items() if fingerprint not in expected.get(target, ())]
    code = ", ".join(f"{target} {fit.live[target]}" for target in moved or fit.live)
    verified = ", ".join(f"{target} {' or '.join(expected[target])}" for target in moved if expected.get(target))
    was = f"; verified was {verified}" if verified else ""
    return f"never verified against this code ({code}){was}; see: ascend-patches diff {patch.name}"


def _nearest_known(patch: Patch, variant: Variant, fit: _Fit, lock: Lock) -> dict[str, tuple[str, ...]]:
    """The fingerprints that each target was verified with, in the entry of the lock that has most in common."""
    expected: dict[str, tuple[str, ...]] = {rewrite.target: rewrite.fingerprints for rewrite in variant.rewrites}
    entries = lock.entries(patch.name, variant.name)
    if entries:
        known = max(entries, key=lambda entry: sum(entry.fingerprints.get(t) == f for t, f in fit.live.items()))
        for target, fingerprint in known.fingerprints.items():
            expected[target] = (*expected.get(target, ()), fingerprint)
    return expected
