"""One patch's life in a process: what was decided about it, what was put in place, and what became of that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ascend_patches.basics.interrupts import is_interrupt
from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Part, Patch, Rewrite, Variant
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.process.complaints import described
from ascend_patches.process.imports import Imports
from ascend_patches.replacing import replace
from ascend_patches.replacing.find import Found, find, foreign_wrapper
from ascend_patches.replacing.rebind import rebind
from ascend_patches.replacing.site import Site
from ascend_patches.settings.model import Choice
from ascend_patches.upstream import distributions, fingerprints
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.finding import Finding

if TYPE_CHECKING:
    from ascend_patches.shadow.patch_shadow import PatchShadow

State = Literal["waiting", "applied", "skipped", "failed", "reverted"]


class Event(NamedTuple):
    """The import that patches are looked at for."""

    module: str = ""
    already_there: frozenset[str] = frozenset()
    """The modules that were there before it."""


NO_IMPORT = Event()


class TargetStatus(NamedTuple):
    """What became of one target, and why."""

    state: State
    reason: str


class Host(Protocol):
    """What the patches of a process have in common."""

    where: Environment
    code_lock: Lock
    imports: Imports
    patches: dict[str, LivePatch]

    @property
    def complain(self) -> Callable[[str], None]: ...

    def report(self) -> None: ...

    def quarantine(self, name: str, reason: str) -> None: ...


class LivePatch:
    """One patch in this process."""

    def __init__(self, patch: Patch, choice: Choice, host: Host) -> None:
        self.patch = patch
        self.choice = choice
        self.host = host
        self.state: State = "waiting"
        self.reason = ""
        self.variant: Variant | None = None
        self.decision: Decision | None = None
        self.targets: dict[Target, TargetStatus] = {}
        self.sites: dict[Target, Site] = {}
        self.superseded: list[Site] = []
        self.originals: dict[Target, Finding] = {}
        self.looked_at: dict[Target, tuple[Any, Finding]] = {}
        self.late: list[Site] = []
        """Sites replaced after their module was in use; their holders have not been searched yet."""
        self.out_of_reach: list[str] = []
        self.shadow: PatchShadow | None = None
        self.quarantined = False

    @property
    def name(self) -> str:
        return self.patch.name

    @property
    def open(self) -> bool:
        """Whether an import may still change its state."""
        return self.state in ("waiting", "applied")

    @property
    def unfit(self) -> bool:
        """Whether it is on and yet something keeps it from being applied: what strict mode does not accept."""
        ineffective = self.decision is not None and self.decision.ineffective
        return self.state == "failed" or (self.state == "skipped" and ineffective)

    @property
    def proposed(self) -> Variant | None:
        """The variant of the latest decision."""
        return self.decision.variant if self.decision is not None else None

    def replacement_at(self, site: Site) -> Any:
        """What was put in place, without what may stand in front of it."""
        return site.after if self.shadow is None else self.shadow.behind(site.target, site.after)

    def propose(self, variant: Variant | None) -> None:
        """Take a variant, of whose targets nothing is known yet."""
        self.variant = variant
        self.targets = dict.fromkeys(variant.targets if variant is not None else (), TargetStatus("waiting", ""))

    def settle(self, state: State, reason: str) -> None:
        """Give the patch and all its targets one state."""
        self.state, self.reason = state, reason
        self.targets = {target: TargetStatus(state, reason) for target in self.targets}

    def forget(self, module: str) -> None:
        """A module was executed (again): what is known of its targets is of code that is gone."""
        for target in [target for target in self.sites if target.module == module]:
            site = self.sites.pop(target)
            if site.in_place():  # on a class that existing objects still have
                self.superseded.append(site)
        for target in [target for target in self.originals if target.module == module]:
            del self.originals[target]

    def decide(self) -> Decision:
        """Choose a variant by what is imported now."""
        host = self.host
        try:
            self.decision = decide(
                self.patch, host.where, self._look, host.code_lock, self.choice.unknown, distributions.has_module
            )
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.decision = Decision("fail", None, described(error))
        return self.decision

    def import_replacements(self) -> None:
        """Import what the proposed variant puts in place; called without any lock of ours."""
        for rewrite in self.proposed.rewrites if self.proposed is not None else ():
            if rewrite.module in sys.modules:
                try:
                    rewrite.replacement()
                except BaseException as error:  # it will say so again when it is used
                    if is_interrupt(error):
                        raise

    def advance(self, event: Event) -> bool:
        """Apply as much as can be applied now; False where a replacement's module has to be whole first."""
        try:
            if self.proposed is not None and self._replacement_is_being_imported(self.proposed):
                self.propose(self.proposed)
                self.settle("waiting", "the module of its replacement is being imported")
                return False
            self._act(event)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.fail(str(error) if isinstance(error, TargetError) else described(error))
        return True

    def fail(self, reason: str) -> None:
        """Undo the patch because of an error."""
        reason = "; ".join([reason, *self.withdraw()])
        self.settle("failed", reason)
        self.host.complain(f"{self.name} failed and is not applied: {reason}")

    def withdraw(self) -> list[str]:
        """Undo what of the patch is in place and still ours; says where it is not ours any more."""
        sites = [*self.superseded, *self.sites.values()]
        foreign = foreign_owners(sites)
        undone = [site for site in sites if site.in_place()]
        for site in reversed(undone):
            replace.undo(site)
        rebind(site.reversed() for site in undone)
        if self.shadow is not None:
            self.shadow.retire()
        self.superseded.clear()
        self.sites.clear()
        self.originals.clear()
        self.late.clear()
        self.out_of_reach.clear()
        return [f"could not be undone: {owner}" for owner in foreign]

    def undo(self) -> list[Site] | None:
        """Undo the patch; returns the sites whose replacement objects may still hold, or None if nothing was undone."""
        sites = [*self.superseded, *self.sites.values()]
        foreign = foreign_owners(sites)
        if foreign:
            # Half a patch is worse than a whole one: nothing is undone.
            self.reason = f"not reverted, because something was put on top of it: {'; '.join(foreign)}"
            self.host.complain(f"{self.name} is {self.reason}")
            return None
        shadow = self.shadow
        self.withdraw()
        return [site for site in sites if shadow is None or not shadow.covers(site.target)]

    def show_holders(self, held: Mapping[str, list[str]]) -> None:
        """Add to the reason who still holds what was replaced late."""
        if self.late and self.variant is not None:
            self.out_of_reach += holders_of(self.late, held)
            self.late.clear()
            self._show_progress(self.variant)

    def _look(self, target: Target) -> Finding:
        """The code of a target as upstream has it in this process, as far as it is imported."""
        for live in self.host.patches.values():
            if target in live.sites:
                return live.originals[target]
        if target in self.originals:
            return self.originals[target]
        module = sys.modules.get(target.module)
        if module is None or self.host.imports.is_being_executed(target.module):
            return Finding("pending")
        try:
            found = find(target, module)
        except TargetError as error:
            return Finding("absent", str(error))
        wrapper = foreign_wrapper(found.value)
        if wrapper:
            return Finding("absent", f"{target} is wrapped by {wrapper}, whose work a replacement would undo")
        known = self.looked_at.get(target)
        if known is None or known[0] is not found.value:
            fingerprint = fingerprints.of_function(found.value)
            finding = Finding("code", fingerprint) if fingerprint else Finding("no source", "no source available")
            known = self.looked_at[target] = (found.value, finding)
        return known[1]

    def _replacement_is_being_imported(self, variant: Variant) -> bool:
        """Whether this thread, further up, or one that waits for it, has a module that the variant needs half done."""
        needed = {rewrite.replacement_module for rewrite in variant.rewrites if rewrite.module in sys.modules}
        return any(self.host.imports.is_being_executed(module) for module in needed if module is not None)

    def _act(self, event: Event) -> None:
        decided = self.decide()
        variant = decided.variant
        if decided.verdict == "apply" and variant is not None:
            self._apply(variant, decided.parts, event)
            return
        if decided.verdict == "fail":
            self.fail(decided.reason)
            return
        reason = "; ".join([decided.reason, *self.withdraw()])
        self.propose(variant)
        self.settle("waiting" if decided.verdict == "wait" else "skipped", reason)
        if decided.ineffective:
            self.host.complain(f"{self.name} is skipped: {reason}")

    def _apply(self, variant: Variant, parts: tuple[Part, ...], event: Event) -> None:
        if self.sites and self.variant is not variant:
            raise TargetError(f"variant {variant.name} fits now, but {self.variant and self.variant.name} is applied")
        self.propose(variant)
        if not self.sites and self.patch.configure is not None:
            self.patch.configure(self.choice.options)
        wanted = dict.fromkeys(rewrite for part in parts for rewrite in part.rewrites)
        due = [rewrite for rewrite in wanted if rewrite.target not in self.sites]
        for rewrite in due:
            for name, other in self.host.patches.items():
                if rewrite.target in other.sites:
                    raise TargetError(f"{rewrite.target} is rewritten by the patch {name} already")
        self.originals.update((rewrite.target, self._look(rewrite.target)) for rewrite in due)
        for rewrite in due:
            # Else it would itself be one who still holds the original.
            self.looked_at.pop(rewrite.target, None)
        done = self._replace(due)
        self.sites.update((site.target, site) for site in done)
        # Only what a module imported itself can have taken a name from it when it has only just been executed.
        fresh = [site for site in done if site.target.module == event.module]
        late = [site for site in done if site not in fresh]
        rebind(fresh, event.already_there)
        rebind(late)
        self.late += late
        self._show_progress(variant)

    def _replace(self, due: list[Rewrite]) -> list[Site]:
        """Replace all that is due, or nothing."""
        found = [find(rewrite.target, sys.modules[rewrite.module]) for rewrite in due]
        values = [replace.prepare(rewrite, there) for rewrite, there in zip(due, found, strict=True)]
        done: list[Site] = []
        try:
            for rewrite, there, value in zip(due, found, values, strict=True):
                done.append(replace.install(rewrite, there, value, self._in_front(rewrite, there, value)))
        except BaseException:
            for site in reversed(done):
                replace.undo(site)
            raise
        return done

    def _in_front(self, rewrite: Rewrite, found: Found, value: Any) -> Any:
        """What is installed instead of a replacement, if some calls of it are to be compared; else None."""
        if not self.choice.shadow:
            return None
        if self.shadow is None:
            from ascend_patches.shadow.patch_shadow import PatchShadow, Told

            told = Told(self.host.complain, self.host.report, self.host.quarantine)
            self.shadow = PatchShadow(self.patch, self.choice, told)
        return self.shadow.in_front(rewrite, found, value)

    def _show_progress(self, variant: Variant) -> None:
        """The state of a patch of which every part that could be put in place has been."""
        why = self.decision.reason if self.decision is not None else ""
        pending = self.decision.pending if self.decision is not None else ()
        waiting = []
        for part in variant.parts:
            missing = dict.fromkeys(target.module for target in part.examined if target in pending)
            reason = f"not imported yet: {', '.join(missing)}"
            self.targets |= {rewrite.target: TargetStatus("waiting", reason) for rewrite in part.rewrites}
            waiting += [part.name] if missing else []
        self.targets |= dict.fromkeys(self.sites, TargetStatus("applied", "replaced and read back"))
        progress = _progress(variant, waiting) if waiting else []
        held = [f"existing objects keep the old code: {holder}" for holder in self.out_of_reach]
        self.state, self.reason = "applied", "; ".join([*progress, why, *held])


def foreign_owners(sites: Iterable[Site]) -> list[str]:
    """The sites where something else is in place now, and whose it is."""
    return [f"{site.target} now belongs to {site.owner_now()}" for site in sites if not site.in_place()]


def holders_of(sites: Iterable[Site], by_target: Mapping[str, list[str]]) -> list[str]:
    """Who holds what of some sites."""
    return [holder for target in dict.fromkeys(site.target for site in sites) for holder in by_target.get(target, ())]


def _progress(variant: Variant, waiting: list[str]) -> list[str]:
    """How far a variant is that has several parts."""
    on = [part.name for part in variant.parts if part.name not in waiting]
    count = f"{len(on)} of {len(variant.parts)} parts are on: {', '.join(on)}"
    return [count, f"still to be imported: {', '.join(waiting)}"]
