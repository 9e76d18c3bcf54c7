"""Activation: the state machine that ties settings, gates, fingerprints and targets together in one process.

All global state is in one object, ``toolkit``. Its lock is never held while a module that somebody else may be
importing is imported: declarations are loaded before it is taken, and under it there is only our own bookkeeping.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from threading import RLock, get_ident
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ascend_patches._version import __version__
from ascend_patches.deciding import decision
from ascend_patches.deciding.decision import Decision, Finding
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring import patch as registry
from ascend_patches.declaring.patch import Part, Patch, Registry, Rewrite, Variant
from ascend_patches.errors import AscendPatchesError, LockError, SettingsError, StrictModeError, TargetError
from ascend_patches.process.finder import Finder, finder, say
from ascend_patches.replacing import targets
from ascend_patches.replacing.targets import Site
from ascend_patches.settings import reader as settings
from ascend_patches.settings.reader import Choice, Settings
from ascend_patches.upstream import distributions, fingerprints
from ascend_patches.upstream.environment import Environment, here

if TYPE_CHECKING:
    from ascend_patches.reporting.metrics import Metrics
    from ascend_patches.shadow.counts import Counts
    from ascend_patches.shadow.patch import PatchShadow

InFront = Callable[[Rewrite, targets.Found, Any], Any]
State = Literal["waiting", "applied", "skipped", "failed", "reverted"]


class TargetStatus(NamedTuple):
    """What became of one target, and why."""

    state: State
    reason: str


class PatchStatus:
    """What became of one patch in this process, and why."""

    def __init__(self, patch: Patch, choice: Choice, state: State = "waiting", reason: str = "") -> None:
        self.patch = patch
        self.choice = choice
        self.state = state
        self.reason = reason
        self.variant: Variant | None = None
        self.decision: Decision | None = None
        self.targets: dict[str, TargetStatus] = {}
        self.sites: dict[str, Site] = {}
        self.superseded: list[Site] = []
        self.originals: dict[str, Finding] = {}
        self.looked_at: dict[str, tuple[Any, Finding]] = {}
        self.late: list[Site] = []
        """What was replaced after its module had been in use, and of which nobody has asked yet who holds it."""
        self.out_of_reach: list[str] = []
        self.shadow: PatchShadow | None = None
        self.quarantined = False

    @property
    def shadow_counts(self) -> Counts:
        """What became of its calls that were compared with the original's."""
        from ascend_patches.shadow.counts import Counts

        return self.shadow.counts if self.shadow is not None else Counts()

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

    def show_progress(self, variant: Variant) -> None:
        """The state of a patch of which every part that could be put in place has been."""
        why = self.decision.reason if self.decision is not None else ""
        pending = self.decision.pending if self.decision is not None else ()
        waiting = []
        for part in variant.parts:
            missing = dict.fromkeys(target.partition(":")[0] for target in part.examined if target in pending)
            reason = f"not imported yet: {', '.join(missing)}"
            self.targets |= {rewrite.target: TargetStatus("waiting", reason) for rewrite in part.rewrites}
            waiting += [part.name] if missing else []
        self.targets |= dict.fromkeys(self.sites, TargetStatus("applied", "replaced and read back"))
        progress = []
        if waiting:
            on = [part.name for part in variant.parts if part.name not in waiting]
            count = f"{len(on)} of {len(variant.parts)} parts are on: {', '.join(on)}"
            progress = [count, f"still to be imported: {', '.join(waiting)}"]
        held = [f"existing objects keep the old code: {holder}" for holder in self.out_of_reach]
        self.state, self.reason = "applied", "; ".join([*progress, why, *held])

    def forget(self, module: str) -> None:
        """A module was executed (again): what is known of its targets is of code that is gone."""
        for target in [target for target in self.sites if target.partition(":")[0] == module]:
            site = self.sites.pop(target)
            if site.in_place():  # on a class that existing objects still have
                self.superseded.append(site)
        for target in [target for target in self.originals if target.partition(":")[0] == module]:
            del self.originals[target]


class Toolkit:
    """One process's patches: which are known, what was decided about them, what was replaced."""

    def __init__(self, finder: Finder = finder, where: Environment = here) -> None:
        self.finder = finder
        self.where = where
        self.lock = RLock()
        self.activated_by: str | None = None
        self.settings = Settings()
        self.registry = Registry()
        self.code_lock = Lock({})
        self.patches: dict[str, PatchStatus] = {}
        self.executed: dict[str, ModuleType] = {}
        self.loading_in: set[int] = set()
        """The threads that are loading the declarations."""
        self.held_up: set[str] = set()
        """Patches of which a replacement's module was still being imported when its target was there already."""
        self.problems: list[str] = []
        self.fatal: str | None = None
        self.unreported: str | None = None
        """Why the latest report could not be left."""
        self.metrics: Metrics | None = None

    @property
    def active(self) -> bool:
        return self.activated_by is not None

    def activate(
        self,
        how: str,
        *,
        config: str | os.PathLike[str] | None = None,
        known: Registry | None = None,
        code_lock: Lock | None = None,
    ) -> None:
        """Read the settings, decide, apply what is imported, watch for the rest. A second call changes nothing."""
        if not self.active:
            if get_ident() in self.loading_in:
                # A package of patches imports what it patches: whoever is loading it goes on when it is whole.
                return
            known = known if known is not None else self._load_declarations()
            with self.lock:
                first = not self.active
                if first:
                    self.activated_by = how
                    self._begin(known, config, code_lock)
            if first:
                self._advance(list(self.patches.values()))
                self._watch_for_metrics()
                if self.settings.mode == "strict" and self.unreported:
                    self.fatal = f"strict mode: {self.unreported}"
        elif config is not None and settings.find_file(config) != self.settings.file:
            raise AscendPatchesError(
                f"already active in this process, by {self.activated_by}, with the settings of "
                f"{self.settings.file or 'no file'}; they cannot be exchanged for {os.fspath(config)} any more"
            )
        if self.fatal is not None:
            raise StrictModeError(self.fatal)

    def _load_declarations(self) -> Registry:
        self.loading_in.add(get_ident())
        try:
            return registry.known()
        finally:
            self.loading_in.discard(get_ident())

    def apply(self) -> None:
        """Apply everything that is on and can be applied now, what was reverted on request included."""
        with self.lock:
            for status in self.patches.values():
                if status.state == "reverted" and not status.quarantined:
                    status.settle("waiting", "to be applied again")
        self._advance(list(self.patches.values()))

    def revert(self, names: Iterable[str] = ()) -> None:
        """Undo the named patches, or all of them, as far as what is in place is still ours."""
        with self.lock:
            wanted = list(names) or list(self.patches)
            for name in wanted:
                if name not in self.patches:
                    raise AscendPatchesError(f"there is no patch {name!r}; known: {', '.join(self.patches) or 'none'}")
            undone = {name: self._undo(self.patches[name]) for name in wanted if self.patches[name].open}
            held = targets.out_of_reach(site.reversed() for sites in undone.values() for site in sites or ())
            for name, sites in undone.items():
                if sites is not None:
                    self.patches[name].settle("reverted", "; ".join(["undone on request", *_of(sites, held)]))
            self._report()

    def quarantine(self, name: str, reason: str) -> None:
        """Undo a patch that was found to be wrong, for as long as this process lives."""
        with self.lock:
            status = self.patches[name]
            if status.open:
                status.quarantined = True
                status.settle("reverted", "; ".join([reason, *self._withdraw(status)]))

    def report(self) -> None:
        """Leave a report where one is wanted, and bring the metrics up to date."""
        with self.lock:
            self._report()

    def identity(self, without: Collection[str] = ()) -> str:
        """A digest of what is applied in this process: patches, variants, options and the code put in place."""
        parts = []
        for name, status in sorted(self.patches.items()):
            if status.sites and name not in without:
                variant = status.variant.name if status.variant is not None else ""
                code = [
                    f"{target}={_code_identity(status.replacement_at(site))}"
                    for target, site in sorted(status.sites.items())
                ]
                parts.append(repr((name, variant, sorted(status.choice.options.items()), code)))
        if not parts:
            return "none"
        # What a replacement calls is not fingerprinted, but changes with the release of this package.
        return sha256("\n".join([__version__, *parts]).encode()).hexdigest()[:16]

    @contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """Around what runs inside somebody else's import: an error of ours is no reason for that import to fail."""
        try:
            yield
        except StrictModeError as error:
            _leave_last_words(str(error))
            raise
        except Exception as error:
            what = f"stopped by an error of its own: {_described(error)}"
            if self.settings.mode == "strict" or os.environ.get("ASCEND_PATCHES", "").strip().lower() == "strict":
                self.fatal = f"strict mode: {what}"
                _leave_last_words(self.fatal)
                raise StrictModeError(self.fatal) from error
            self.complain(what)

    def complain(self, problem: str) -> None:
        """Say a problem of ours on stderr, once in a process, and keep it for the report."""
        if problem in self.problems:
            return
        self.problems.append(problem)
        say(problem)
        if os.environ.get("ASCEND_PATCHES_DEBUG") and sys.exc_info()[0] is not None:
            from traceback import format_exc

            say(format_exc())

    def _begin(self, known: Registry, config: str | os.PathLike[str] | None, code_lock: Lock | None) -> None:
        self.registry = known
        if os.environ.get("ASCEND_PATCHES", "").strip().lower() == "off":
            self.settings = Settings(mode="off")
            return
        try:
            self.settings = settings.load(known.patches, config)
            if self.settings.mode == "off":
                return
            self.code_lock = code_lock if code_lock is not None else Lock.read()
            choices = {name: self.settings.choice(patch, self.where) for name, patch in known.patches.items()}
        except (SettingsError, LockError) as error:
            self._refuse_settings(error, config)
            return
        for problem in known.problems:
            self.complain(problem)
        for name, patch in known.patches.items():
            status = self.patches[name] = PatchStatus(patch, choices[name])
            if not status.choice.enabled:
                status.settle("skipped", status.choice.reason)
            else:
                for module in patch.watched:
                    self.finder.after[module] = self._imported
        for status in filter(_is_open, self.patches.values()):
            for module in status.patch.replacement_modules:
                self.finder.after.setdefault(module, self._replacement_imported)
        if self.settings.mode == "strict":
            from ascend_patches.reporting import last_words

            last_words.keep()
            self._check_ahead()
        self.finder.install()
        # A forked child gets a toolkit that nobody is in the middle of changing, and leaves a report of its own.
        os.register_at_fork(
            before=self.lock.acquire, after_in_parent=self.lock.release, after_in_child=self._after_fork
        )

    def _refuse_settings(self, error: AscendPatchesError, config: str | os.PathLike[str] | None) -> None:
        """Nothing is on by settings that cannot be used; in strict mode nothing starts with them either."""
        strict = getattr(error, "strict", False) or os.environ.get("ASCEND_PATCHES", "").strip().lower() == "strict"
        self.settings = Settings(mode="strict" if strict else "on", file=settings.find_file(config))
        for name, patch in self.registry.patches.items():
            choice = Choice(False, "switched off because the settings cannot be used", {}, "skip")
            self.patches[name] = PatchStatus(patch, choice, "skipped", choice.reason)
        if strict:
            self.fatal = f"strict mode: {error}"
            self.problems.append(self.fatal)
        else:
            self.complain(f"{error}\nno patch is on")

    def _check_ahead(self) -> None:
        """Find out from the sources, before anything is imported, what strict mode could not accept."""
        from ascend_patches.deciding.foresight import foresee

        complaints = list(self.registry.problems)
        for name, status in self.patches.items():
            if status.open:
                foreseen = foresee(status.patch, status.choice, self.where, self.code_lock)
                if foreseen.ineffective:
                    complaints.append(f"{name}: {foreseen.reason}")
        if complaints:
            self.fatal = "strict mode: " + "; ".join(complaints)

    def _imported(self, name: str, module: ModuleType, already_there: frozenset[str]) -> None:
        """A watched module has just been executed; ``module`` is what stands under its name now."""
        with self.out_of_the_way():
            with self.lock:
                self.executed[name] = module
                concerned = [status for status in self.patches.values() if name in status.patch.watched]
                for status in concerned:
                    status.forget(name)
            self._advance(concerned, name, already_there)

    def _replacement_imported(self, name: str, module: ModuleType, already_there: frozenset[str]) -> None:
        """A module with replacements has just been executed: what came to its target while it was, can go on."""
        with self.out_of_the_way():
            with self.lock:
                self.executed[name] = module
            if self.held_up:
                self._advance([])

    def _watch_for_metrics(self) -> None:
        """Be among this process's metrics if it has any; it is never us who import prometheus_client."""
        client = sys.modules.get("prometheus_client")
        if self.settings.mode != "off":
            self.finder.after.setdefault("prometheus_client", self._metrics_imported)
            if client is not None and not self._being_executed("prometheus_client"):
                self._metrics_imported("prometheus_client", client, frozenset())

    def _metrics_imported(self, name: str, client: ModuleType, already_there: frozenset[str]) -> None:
        try:
            from ascend_patches.reporting.metrics import Metrics

            if self.metrics is None or self.metrics.registry is not client.REGISTRY:
                self.metrics = Metrics(self, client)
        except Exception as error:
            self.complain(f"not among the metrics: {_described(error)}")

    def _advance(
        self,
        statuses: list[PatchStatus],
        just_executed: str = "",
        already_there: frozenset[str] = frozenset(),
    ) -> None:
        """Decide about patches by what is imported now, and apply as much as can be applied.

        Replacements are imported between the two steps, where the lock is not held: what they import may be waiting,
        in another thread, for the lock.
        """
        with self.lock:
            for status in filter(_is_open, statuses):
                status.decision = self._decide(status)
            proposed = [status.proposed for status in filter(_is_open, statuses)]
        for variant in filter(None, proposed):
            _import_replacements(variant)
        with self.lock:
            statuses = [*statuses, *(self.patches[name] for name in sorted(self.held_up))]
            self.held_up.clear()
            for status in filter(_is_open, statuses):
                try:
                    if status.proposed is not None and self._replacement_is_being_imported(status.proposed):
                        self.held_up.add(status.patch.name)
                        status.propose(status.proposed)
                        status.settle("waiting", "the module of its replacement is being imported")
                    else:
                        self._act(status, just_executed, already_there)
                except Exception as error:
                    self._fail(status, str(error) if isinstance(error, TargetError) else _described(error))
            self._ask_who_is_out_of_reach(statuses)
            self._report()
        if self.settings.mode == "strict":
            unfit = [f"{status.patch.name}: {status.reason}" for status in statuses if status.unfit]
            if unfit:
                raise StrictModeError("strict mode: " + "; ".join(unfit))

    def _decide(self, status: PatchStatus) -> Decision:
        try:
            return decision.decide(
                status.patch,
                self.where,
                lambda target: self._look(status, target),
                self.code_lock,
                status.choice.unknown,
                distributions.has_module,
            )
        except Exception as error:
            return Decision("fail", None, _described(error))

    def _act(self, status: PatchStatus, just_executed: str, already_there: frozenset[str]) -> None:
        decided = status.decision = self._decide(status)
        variant = decided.variant
        if decided.verdict == "apply" and variant is not None:
            self._apply(status, variant, decided.parts, just_executed, already_there)
            return
        if decided.verdict == "fail":
            self._fail(status, decided.reason)
            return
        reason = "; ".join([decided.reason, *self._withdraw(status)])
        status.propose(variant)
        status.settle("waiting" if decided.verdict == "wait" else "skipped", reason)
        if decided.ineffective:
            self.complain(f"{status.patch.name} is skipped: {reason}")

    def _apply(
        self,
        status: PatchStatus,
        variant: Variant,
        parts: tuple[Part, ...],
        just_executed: str,
        already_there: frozenset[str],
    ) -> None:
        if status.sites and status.variant is not variant:
            raise TargetError(
                f"variant {variant.name} fits now, but {status.variant and status.variant.name} is applied"
            )
        status.propose(variant)
        if not status.sites and status.patch.configure is not None:
            status.patch.configure(status.choice.options)
        wanted = dict.fromkeys(rewrite for part in parts for rewrite in part.rewrites)
        due = [rewrite for rewrite in wanted if rewrite.target not in status.sites]
        for rewrite in due:
            for name, other in self.patches.items():
                if rewrite.target in other.sites:
                    raise TargetError(f"{rewrite.target} is rewritten by the patch {name} already")
        status.originals.update((rewrite.target, self._look(status, rewrite.target)) for rewrite in due)
        for rewrite in due:
            # Else it would itself be one who still holds the original.
            status.looked_at.pop(rewrite.target, None)
        done = _replace(due, self._in_front(status))
        status.sites.update((site.target, site) for site in done)
        # Nobody but what it imported itself can have taken a name from a module that has only just been executed.
        fresh = [site for site in done if site.target.partition(":")[0] == just_executed]
        late = [site for site in done if site not in fresh]
        targets.rebind(fresh, already_there)
        targets.rebind(late)
        status.late += late
        status.show_progress(variant)

    def _ask_who_is_out_of_reach(self, statuses: list[PatchStatus]) -> None:
        """Add to the reasons of patches who still holds what they have replaced late."""
        held = targets.out_of_reach(site for status in statuses for site in status.late)
        for status in statuses:
            if status.late and status.variant is not None:
                status.out_of_reach += _of(status.late, held)
                status.late.clear()
                status.show_progress(status.variant)

    def _in_front(self, status: PatchStatus) -> InFront | None:
        """What puts shadows in front of a patch's replacements, if some of its calls are to be compared."""
        if not status.choice.shadow:
            return None
        if status.shadow is None:
            from ascend_patches.shadow.patch import PatchShadow, Told

            told = Told(self.complain, self.report, self.quarantine)
            status.shadow = PatchShadow(status.patch, status.choice, told)
        return status.shadow.in_front

    def _withdraw(self, status: PatchStatus) -> list[str]:
        """Undo what of a patch is in place and still ours; says where it is not ours any more."""
        sites = [*status.superseded, *status.sites.values()]
        foreign = _foreign(sites)
        undone = [site for site in sites if site.in_place()]
        for site in reversed(undone):
            targets.undo(site)
        targets.rebind(site.reversed() for site in undone)
        if status.shadow is not None:
            status.shadow.retire()
        status.superseded.clear()
        status.sites.clear()
        status.originals.clear()
        status.late.clear()
        status.out_of_reach.clear()
        return [f"could not be undone: {owner}" for owner in foreign]

    def _fail(self, status: PatchStatus, reason: str) -> None:
        reason = "; ".join([reason, *self._withdraw(status)])
        status.settle("failed", reason)
        self.complain(f"{status.patch.name} failed and is not applied: {reason}")

    def _undo(self, status: PatchStatus) -> list[Site] | None:
        """Undo a patch; returns the sites whose replacement objects may still hold, or None if nothing was undone."""
        sites = [*status.superseded, *status.sites.values()]
        foreign = _foreign(sites)
        if foreign:
            # Half a patch is worse than a whole one: nothing is undone.
            status.reason = f"not reverted, because something was put on top of it: {'; '.join(foreign)}"
            self.complain(f"{status.patch.name} is {status.reason}")
            return None
        shadow = status.shadow
        self._withdraw(status)
        return [site for site in sites if shadow is None or not shadow.covers(site.target)]

    def _look(self, status: PatchStatus, target: str) -> Finding:
        """The code of a target as upstream has it in this process, as far as it is imported."""
        for patch in self.patches.values():
            if target in patch.sites:
                return patch.originals[target]
        if target in status.originals:
            return status.originals[target]
        name = target.partition(":")[0]
        module = sys.modules.get(name)
        if module is None or self._being_executed(name):
            return Finding("pending")
        try:
            found = targets.find(target, module)
        except TargetError as error:
            return Finding("absent", str(error))
        wrapper = targets.foreign_wrapper(found.value)
        if wrapper:
            return Finding("absent", f"{target} is wrapped by {wrapper}, whose work a replacement would undo")
        known = status.looked_at.get(target)
        if known is None or known[0] is not found.value:
            fingerprint = fingerprints.of_function(found.value)
            finding = Finding("code", fingerprint) if fingerprint else Finding("no source", "no source available")
            known = status.looked_at[target] = (found.value, finding)
        return known[1]

    def _being_executed(self, name: str) -> bool:
        module = sys.modules.get(name)
        initializing = getattr(getattr(module, "__spec__", None), "_initializing", False)
        return bool(initializing) and self.executed.get(name) is not module

    def _replacement_is_being_imported(self, variant: Variant) -> bool:
        """Whether this thread, further up, or one that waits for it, has a module that the variant needs half done."""
        needed = {rewrite.replacement_module for rewrite in variant.rewrites if rewrite.module in sys.modules}
        return any(self._being_executed(module) for module in needed if module is not None)

    def _report(self) -> None:
        if self.metrics is not None:
            self.metrics.publish()
        self._leave_report()

    def _leave_report(self) -> None:
        folder = os.environ.get("ASCEND_PATCHES_REPORT_DIR")
        if folder:
            from ascend_patches.reporting import report

            self.unreported = None
            try:
                report.leave(self, folder)
            except OSError as error:
                self.unreported = f"no report left in {folder}: {error.strerror or error}"
            except Exception as error:
                self.unreported = f"no report left in {folder}: {_described(error)}"
            if self.unreported:
                self.complain(self.unreported)

    def _after_fork(self) -> None:
        self.lock.release()
        self._leave_report()


def _is_open(status: PatchStatus) -> bool:
    return status.open


def _import_replacements(variant: Variant) -> None:
    for rewrite in variant.rewrites:
        if rewrite.module in sys.modules:
            with suppress(Exception):  # it will say so again when it is used
                rewrite.replacement()


def _replace(due: list[Rewrite], in_front: InFront | None) -> list[Site]:
    """Replace all that is due, or nothing."""
    found = [targets.find(rewrite.target, sys.modules[rewrite.module]) for rewrite in due]
    values = [targets.prepare(rewrite, there) for rewrite, there in zip(due, found, strict=True)]
    done: list[Site] = []
    try:
        for rewrite, there, value in zip(due, found, values, strict=True):
            instead = in_front(rewrite, there, value) if in_front is not None else None
            done.append(targets.install(rewrite, there, value, instead))
    except BaseException:
        for site in reversed(done):
            targets.undo(site)
        raise
    return done


def _foreign(sites: Iterable[Site]) -> list[str]:
    return [f"{site.target} now belongs to {site.owner_now()}" for site in sites if not site.in_place()]


def _of(sites: Iterable[Site], held: Mapping[str, list[str]]) -> list[str]:
    """Who holds what of some sites."""
    return [holder for target in dict.fromkeys(site.target for site in sites) for holder in held.get(target, ())]


def _leave_last_words(reason: str) -> None:
    from ascend_patches.reporting import last_words

    last_words.leave(reason)


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _code_identity(value: Any) -> str:
    if isinstance(value, property):
        value = value.fget
    # Of advice, it is the advice that is ours.
    function = fingerprints.plain_function(getattr(value, "_self_wrapper", value))
    return (fingerprints.of_function(function) if function is not None else None) or repr(type(value))


toolkit = Toolkit()


def activate(how: str) -> None:
    """Activate this process's toolkit; the way in for the start hook and the vLLM plugin."""
    with toolkit.out_of_the_way():
        toolkit.activate(how)
