"""One patch's life in a process: what was decided about it, what was put in place, and what became of that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ascend_patches.basics.interrupts import is_interrupt
from ascend_patches.basics.value import Value
from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Part, Patch, Rewrite, Variant
from ascend_patches.declaring.target import Target
from ascend_patches.errors import TargetError
from ascend_patches.process.complaints import described
from ascend_patches.process.imports import Imports
from ascend_patches.process.known_code import KnownCode
from ascend_patches.replacing.find import ABSENT, Found
from ascend_patches.replacing.site import Site
from ascend_patches.replacing.transaction import BusyError, put_in_place, take_out
from ascend_patches.settings.model import Choice
from ascend_patches.upstream import distributions
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.finding import Finding

if TYPE_CHECKING:
    from ascend_patches.shadow.patch_shadow import PatchShadow

State = Literal["waiting", "applied", "overwritten", "skipped", "failed", "reverted"]


_MOST_SUPERSEDED = 16


class Event(Value):
    """The import that patches are looked at for."""

    module: str = ""
    already_there: frozenset[str] = frozenset()
    """The modules that were there before it."""


NO_IMPORT = Event()


class TargetStatus(Value):
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
        self.code = KnownCode(host.imports, lambda value: _upstream(value, host.patches))
        self.late: list[Site] = []
        """Sites replaced after their module was in use; their holders have not been searched yet."""
        self.out_of_reach: list[str] = []
        self.shadow: PatchShadow | None = None
        self.quarantined = False
        self.busy = ""
        """Which calls keep it from being put in place, or taken out, at this moment."""
        self._standing = ""
        """Why it is applied, and what became of the latest attempt to undo it."""

    @property
    def name(self) -> str:
        return self.patch.name

    @property
    def open(self) -> bool:
        """Whether an import may still change its state."""
        return self.state in ("waiting", "applied", "overwritten")

    @property
    def unfit(self) -> bool:
        """Whether it is on and yet something keeps it from being applied: what strict mode does not accept."""
        ineffective = self.decision is not None and self.decision.ineffective
        return self.state in ("failed", "overwritten") or (self.state == "skipped" and ineffective)

    @property
    def proposed(self) -> Variant | None:
        """The variant of the latest decision."""
        return self.decision.variant if self.decision is not None else None

    def propose(self, variant: Variant | None) -> None:
        """Take a variant, of whose targets nothing is known yet."""
        self.variant = variant
        self.targets = dict.fromkeys(variant.targets if variant is not None else (), TargetStatus("waiting", ""))

    def settle(self, state: State, reason: str) -> None:
        """Give the patch and all its targets one state."""
        self.state, self.reason = state, reason
        self.targets = {target: TargetStatus(state, reason) for target in self.targets}

    def look(self) -> None:
        """Bring the state up to date with what is in place now."""
        if self.state not in ("applied", "overwritten"):
            return
        now = {target: _status_of(site) for target, site in self.sites.items()}
        self.targets |= now
        lost = [target for target, status in now.items() if status.state == "overwritten"]
        said = [f"{target} was {now[target].reason}" for target in lost]
        self.state = "overwritten" if lost else "applied"
        self.reason = "; ".join([*said, self._standing])

    def rests_on_other_code(self) -> bool:
        """Whether something else is at a function that it relies on than when it was last decided about."""
        replaced = {target for live in self.host.patches.values() for target in live.sites}
        relied_on = self.variant.relies_on if self.sites and self.variant is not None else ()
        return self.code.any_moved(target for target in relied_on if target not in replaced)

    def forget(self, module: str) -> None:
        """A module was executed (again): what is known of its targets is of code that is gone.

        Objects of before stay patched, unless the replacement would take them for objects of the new class.
        """
        gone = [self.sites.pop(site.target) for site in [*self.sites.values()] if site.is_gone_with(module)]
        take_out([site for site in gone if site.in_place() and site.knows_its_class()], force=True)
        self.superseded += [site for site in gone if site.in_place()]
        del self.superseded[:-_MOST_SUPERSEDED]
        self.code.forget_module(module, but=self.sites)

    def recover(self) -> None:
        """Forget the sites where upstream's own function is back, as after a mock, so that they are replaced again."""
        for target, site in [*self.sites.items()]:
            if not site.in_place() and site.owner.__dict__.get(site.name) is site.before:
                del self.sites[target]
                self.code.forget(target)

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
        self.busy = ""
        try:
            if any(map(self.host.imports.is_being_executed, _replacement_modules(self.proposed))):
                self.propose(self.proposed)
                self.settle("waiting", "the module of its replacement is being imported")
                return False
            self._act(event)
        except BusyError as error:
            self.busy = str(error)
            if not self.sites:
                self.settle("waiting", f"to be put in place as soon as no call is inside: {error}")
            elif self.decision is not None and self.decision.verdict == "skip":
                self.keep(f"about to be taken out, as soon as no call is inside: {self._why_not(self.decision)}")
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

    def withdraw(self, force: bool = True) -> list[str]:
        """Undo what of the patch is in place and still ours; says where it is not ours any more.

        Without ``force``, BusyError says which calls are inside it; then nothing was undone.
        """
        sites = [*self.superseded, *self.sites.values()]
        foreign, shadow = foreign_owners(sites), self.shadow
        ours = [site for site in sites if site.in_place()]
        take_out(ours, shadow.retiring() if shadow is not None else (), force)
        if shadow is not None:
            shadow.retire()
        self.superseded.clear()
        self.sites.clear()
        self.code.forget_all()
        self.late.clear()
        self.out_of_reach.clear()
        return [f"could not be undone: {owner}" for owner in foreign]

    def undo(self) -> list[Site] | None:
        """Undo the patch; returns the sites whose replacement objects may still hold, or None if nothing was undone.

        ``busy`` then says which calls are inside, unless it is not the patch's to undo.
        """
        self.busy = ""
        sites = [*self.superseded, *self.sites.values()]
        foreign = foreign_owners(sites)
        if foreign:
            # Half a patch is worse than a whole one: nothing is undone.
            self.keep(f"not reverted, because something was put on top of it: {'; '.join(foreign)}")
            return None
        covered = {site.target for site in sites if self.shadow is not None and self.shadow.covers(site.target)}
        try:
            self.withdraw(force=False)
        except BusyError as error:
            self.busy = str(error)
            return None
        return [site for site in sites if site.target not in covered]

    def keep(self, why: str) -> None:
        """Say why the patch stays although it was to be undone."""
        self._standing = why
        self.look()
        self.host.complain(f"{self.name} is {why}")

    def show_holders(self, held: Mapping[str, list[str]]) -> None:
        """Add to the reason the holders of what was replaced late."""
        if self.late and self.variant is not None:
            self.out_of_reach += holders_of(self.late, held)
            self.late.clear()
            self._show_progress(self.variant)

    def _look(self, target: Target) -> Finding:
        """The code of a target, of the patch that replaced it."""
        owner = next((live for live in self.host.patches.values() if target in live.sites), self)
        return owner.code.of(target)

    def _act(self, event: Event) -> None:
        decided = self.decide()
        variant = decided.variant
        if decided.verdict == "apply" and variant is not None:
            self._apply(variant, decided.parts, event)
            return
        if decided.verdict == "fail":
            self.fail(decided.reason)
            return
        reason = "; ".join([self._why_not(decided), *self.withdraw(force=False)])
        self.propose(variant)
        self.settle("waiting" if decided.verdict == "wait" else "skipped", reason)
        if decided.ineffective:
            self.host.complain(f"{self.name} is skipped: {reason}")

    def _why_not(self, decided: Decision) -> str:
        relied_on = self.variant.relies_on if self.variant is not None else ()
        return "; ".join([*self.code.exchanged(relied_on), decided.reason])

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
        for rewrite in due:
            if rewrite.is_examined:
                self.code.keep(rewrite.target)
        done = put_in_place(due, partial(_in_front, self), *event, _all_sites(self.host))
        self.sites.update((site.target, site) for site in done)
        # A module that has only just been executed is held by what it made itself, and by nothing else.
        self.late += [site for site in done if site.target.module != event.module or site.is_held_by_others()]
        self._show_progress(variant)

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
        progress = _progress(variant, waiting) if waiting else []
        held = [f"existing objects keep the old code: {holder}" for holder in self.out_of_reach]
        self.state, self._standing = "applied", "; ".join([*progress, why, *held])
        self.look()


def _in_front(live: LivePatch, rewrite: Rewrite, found: Found, value: Any) -> Any:
    """What is installed instead of a replacement, if some calls of it are to be compared; else None."""
    if not live.choice.shadow:
        return None
    if live.shadow is None:
        from ascend_patches.shadow.patch_shadow import Callbacks, PatchShadow

        callbacks = Callbacks(live.host.complain, live.host.report, live.host.quarantine)
        live.shadow = PatchShadow(live.patch, live.choice, callbacks)
    return live.shadow.in_front(rewrite, found, value)


def foreign_owners(sites: Iterable[Site]) -> list[str]:
    """The sites where something else is in place now, and whose it is."""
    return [f"{site.target} now belongs to {site.owner_now()}" for site in sites if not site.in_place()]


def holders_of(sites: Iterable[Site], by_target: Mapping[str, list[str]]) -> list[str]:
    """The holders of what some sites replaced."""
    return [holder for target in dict.fromkeys(site.target for site in sites) for holder in by_target.get(target, ())]


def _progress(variant: Variant, waiting: list[str]) -> list[str]:
    """How far a variant is that has several parts."""
    on = [part.name for part in variant.parts if part.name not in waiting]
    count = f"{len(on)} of {len(variant.parts)} parts are on: {', '.join(on)}"
    return [count, f"still to be imported: {', '.join(waiting)}"]


def _status_of(site: Site) -> TargetStatus:
    owner = site.overwritten_by()
    if owner:
        return TargetStatus("overwritten", f"replaced, and now belongs to {owner}")
    return TargetStatus("applied", "replaced and read back")


def _replacement_modules(variant: Variant | None) -> Iterator[str]:
    """The modules that a variant's replacements for what is imported come from.

    One of them may be half done: this thread, further up, or one that waits for it, imports it.
    """
    for rewrite in variant.rewrites if variant is not None else ():
        if rewrite.replacement_module is not None and rewrite.module in sys.modules:
            yield rewrite.replacement_module


def _all_sites(host: Host) -> list[Site]:
    return [site for live in host.patches.values() for site in live.sites.values()]


def _upstream(value: Any, patches: Mapping[str, LivePatch]) -> Any:
    """What was there before a patch put this value in place; the value itself if none did."""
    sites = (site for live in patches.values() for site in live.sites.values())
    there = next((site for site in sites if site.after is value), None)
    if there is None:
        return value
    return there.original if there.before is ABSENT else there.before
