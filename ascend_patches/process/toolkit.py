"""Activation: what ties settings, decisions and import events together in one process.

All state of a process is in one object of the class Toolkit. Its lock is never held while a module is imported that
another thread may be importing: declarations are loaded before it is taken, and under it there is only bookkeeping.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from types import ModuleType

from ascend_patches.basics.interrupts import is_interrupt
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring import first_call
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import AscendPatchesError, LockError, SettingsError, StrictModeError
from ascend_patches.process import identity
from ascend_patches.process.complaints import Complaints, described
from ascend_patches.process.finder import Finder, finder
from ascend_patches.process.forking import ForkLock
from ascend_patches.process.imports import Imports
from ascend_patches.process.listener import Listener
from ascend_patches.process.live_patch import NO_IMPORT, Event, LivePatch
from ascend_patches.process.reverting import SECONDS, Reverting
from ascend_patches.process.second_look import EXCHANGING, SecondLook
from ascend_patches.replacing.holders import out_of_reach
from ascend_patches.settings import mode
from ascend_patches.settings.model import Choice, Settings
from ascend_patches.settings.reader import find_file, load
from ascend_patches.upstream.environment import Environment, here


class Toolkit:
    """One process's patches: which are known, what was decided about them, what was replaced."""

    def __init__(
        self, declarations: Callable[[], Registry] = Registry, finder: Finder = finder, where: Environment = here
    ) -> None:
        self.declarations = declarations
        self.where = where
        self.imports = Imports(finder)
        self.complain = Complaints()
        self.listeners: list[Listener] = []
        self.lock = ForkLock()
        self.reverting = Reverting(self.lock, self._changed)
        self.activated_by: str | None = None
        self.settings = Settings()
        self.registry = Registry()
        self.code_lock = Lock({})
        self.patches: dict[str, LivePatch] = {}
        self.second_look = SecondLook(self.lock, self.patches, self.advance, self.import_guard, self.report)
        self.fatal: str | None = None
        self.unreported = ""
        """What kept a listener from its work when a state changed last."""
        self._loading_in: set[int] = set()
        """The threads that are loading the declarations."""
        self._held_up: set[str] = set()
        """Patches of which a replacement's module was still being imported when its target was there already."""

    @property
    def problems(self) -> list[str]:
        return self.complain.said

    def activate(
        self, how: str, *, config: str | os.PathLike[str] | None = None, code_lock: Lock | None = None
    ) -> None:
        """Read the settings, decide, apply what is imported, watch for the rest. A second call changes nothing."""
        if self.activated_by is None:
            if get_ident() in self._loading_in:
                # A package of patches imports what it patches: the thread that loads it goes on when it is whole.
                return
            known = self._load_declarations()
            with self.lock:
                first = self.activated_by is None
                if first:
                    self.activated_by = how
                    self._begin(known, config, code_lock)
                    self.imports.finder.knows_all = True
            if first:
                self.advance(list(self.patches.values()))
                if self.settings.mode != "off":
                    for listener in self.listeners:
                        listener.activated()
                if self.settings.mode == "strict" and self.unreported:
                    self.fatal = f"strict mode: {self.unreported}"
        elif config is not None and find_file(config) != self.settings.file:
            raise AscendPatchesError(
                f"already active in this process, by {self.activated_by}, with the settings of "
                f"{self.settings.file or 'no file'}; they cannot be exchanged for {os.fspath(config)} any more"
            )
        if self.fatal is not None:
            raise StrictModeError(self.fatal)

    def apply(self, wait: float = SECONDS) -> None:
        """Apply everything that is on and can be applied now, what was reverted or skipped before included."""
        if self.reverting.postponed("apply", lambda: self.apply(0)):
            return
        with self.lock:
            for live in self.patches.values():
                live.recover()
                if (live.state == "reverted" and not live.quarantined) or (live.state == "skipped" and live.decision):
                    live.settle("waiting", "to be applied again")
        self.advance(list(self.patches.values()))
        self.reverting.wait(list(self.patches.values()), self.advance, wait)

    def revert(self, names: Iterable[str] = (), wait: float = SECONDS) -> None:
        """Undo the named patches, or all of them, as far as what is in place is still ours.

        While calls are inside a patch of several rewrites it stays; after so many seconds that is said.
        """
        wanted = list(names) or list(self.patches)
        for name in wanted:
            if name not in self.patches:
                raise AscendPatchesError(f"there is no patch {name!r}; known: {', '.join(self.patches) or 'none'}")
        self.reverting.revert([self.patches[name] for name in wanted], wait)

    def quarantine(self, name: str, reason: str) -> None:
        """Undo a patch that was found to be wrong, for as long as this process lives."""
        self.reverting.quarantine(self.patches[name], reason)

    def report(self) -> None:
        """Have reports and metrics brought up to date."""
        with self.lock:
            self._changed()

    def identity(self, without: Collection[str] = ()) -> str:
        """A digest of what is applied in this process."""
        self.look()
        return identity.of(self.patches.values(), without)

    def identity_to_come(self, without: str) -> str:
        """A text that tells what is in place now, and what would still be put in place by further imports."""
        with self.lock:
            return identity.to_come(self.patches.values(), without)

    @contextmanager
    def import_guard(self) -> Iterator[None]:
        """Say our own errors instead of failing the import that we work in; strict mode fails it."""
        try:
            yield
        except StrictModeError as error:
            self._stop(str(error))
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            what = f"stopped by an error of its own: {described(error)}"
            if "strict" in (self.settings.mode, mode.asked_for()):
                self.fatal = f"strict mode: {what}"
                self._stop(self.fatal)
                raise StrictModeError(self.fatal) from error
            self.complain(what)

    def _load_declarations(self) -> Registry:
        self._loading_in.add(get_ident())
        try:
            return self.declarations()
        finally:
            self._loading_in.discard(get_ident())

    def _begin(self, known: Registry, config: str | os.PathLike[str] | None, code_lock: Lock | None) -> None:
        self.registry = known
        if mode.asked_for() == "off":
            self.settings = Settings(mode="off")
            return
        try:
            self.settings = load(known.patches, config)
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
            live = self.patches[name] = LivePatch(patch, choices[name], self)
            if not live.choice.enabled:
                live.settle("skipped", live.choice.reason)
        self.watch()
        if self.settings.mode == "strict":
            for listener in self.listeners:
                listener.strict()
            complaints = "; ".join([*known.problems, *foreseen(_open(self.patches.values()))])
            self.fatal = f"strict mode: {complaints}" if complaints else None
        self.imports.finder.install()
        # A forked child gets a toolkit that no thread is in the middle of changing, and leaves a report of its own.
        self.lock.hold_across_forks(self._after_fork)

    def _refuse_settings(self, error: AscendPatchesError, config: str | os.PathLike[str] | None) -> None:
        """Nothing is on by settings that cannot be used; in strict mode nothing starts with them either."""
        strict = getattr(error, "strict", False) or mode.asked_for() == "strict"
        self.settings = Settings(mode="strict" if strict else "on", file=find_file(config))
        for name, patch in self.registry.patches.items():
            choice = Choice(False, "switched off because the settings cannot be used", {}, "skip")
            self.patches[name] = LivePatch(patch, choice, self)
            self.patches[name].settle("skipped", choice.reason)
        if strict:
            self.fatal = f"strict mode: {error}"
            self.problems.append(self.fatal)
        else:
            self.complain(f"{error}\nno patch is on")

    def watch(self) -> None:
        """Have the imports seen that matter to the patches that are open."""
        patches = [live.patch for live in _open(self.patches.values())]
        self.imports.watch([one for each in patches for one in each.watched], self._imported)
        self.imports.watch_besides([one for each in patches for one in each.replacement_modules], self._also_imported)
        self.imports.watch_besides(EXCHANGING, self.second_look.when)

    def _imported(self, name: str, module: ModuleType, already_there: frozenset[str]) -> None:
        """A watched module has just been executed; ``module`` is what has its name now."""
        with self.import_guard():
            with self.lock:
                concerned = [live for live in self.patches.values() if name in live.patch.watched]
                for live in concerned:
                    live.forget(name)
            self.advance(concerned, Event(name, already_there))

    def _also_imported(self, name: str, module: ModuleType, already_there: frozenset[str]) -> None:
        """A module with replacements has just been executed: what came to its target while it was, can go on."""
        with self.import_guard():
            with self.lock:  # another thread may be about to say that a patch waits for this module
                held_up = bool(self._held_up)
            if held_up:
                self.advance([])

    def advance(self, patches: list[LivePatch], event: Event = NO_IMPORT) -> None:
        """Decide about patches by what is imported now, and apply as much as can be applied.

        Replacements are imported between the two steps, where the lock is not held: what they import may be waiting,
        in another thread, for the lock.
        """
        with self.lock:
            proposing = _open(patches)
            for live in proposing:
                live.decide()
        for live in proposing:
            live.import_replacements()
        with self.lock:
            patches = [*patches, *(self.patches[name] for name in sorted(self._held_up))]
            self._held_up.clear()
            for live in _open(patches):
                if not live.advance(event):
                    self._held_up.add(live.name)
                if live.busy:
                    self.reverting.settler.until_done(live.name, partial(self.second_look.settled, live))
            held = out_of_reach(site for live in patches for site in live.late)
            for live in patches:
                live.show_holders(held)
                live.look()
            first_call.expect(self.second_look.when)
            self._changed()
        if self.settings.mode == "strict":
            unfit = [f"{live.name}: {live.reason}" for live in patches if live.unfit]
            if unfit:
                raise StrictModeError("strict mode: " + "; ".join(unfit))

    def look(self) -> None:
        """Bring the states up to date with what is in place now, and with what it relies on."""
        with self.lock:
            for live in self.patches.values():
                live.look()
        self.second_look.quietly(self._stop)

    def _changed(self) -> None:
        self._tell(lambda listener: listener.changed())

    def _after_fork(self) -> None:
        self.reverting.settler.after_fork()
        self._tell(lambda listener: listener.forked())

    def _tell(self, say: Callable[[Listener], str]) -> None:
        self.unreported = "; ".join(filter(None, map(say, self.listeners)))
        if self.unreported:
            self.complain(self.unreported)

    def _stop(self, reason: str) -> None:
        for listener in self.listeners:
            listener.stopped(reason)


def _open(patches: Iterable[LivePatch]) -> Sequence[LivePatch]:
    return [live for live in patches if live.open]


def foreseen(patches: Iterable[LivePatch]) -> Iterator[str]:
    """What strict mode could not accept, by the sources, before anything is imported."""
    from ascend_patches.deciding.foresight import foresee

    for live in patches:
        foreseen = foresee(live.patch, live.choice, live.host.where, live.host.code_lock)
        if foreseen.ineffective:
            yield f"{live.name}: {foreseen.reason}"
