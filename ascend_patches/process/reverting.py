"""Undo patches while a process serves: at a moment when no call is inside, and not before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from ascend_patches.process.forking import ForkLock
from ascend_patches.process.live_patch import LivePatch, holders_of
from ascend_patches.process.settling import Settler
from ascend_patches.replacing.holders import out_of_reach
from ascend_patches.replacing.inside import OURSELVES
from ascend_patches.replacing.transaction import BusyError

SECONDS = 5.0
"""How long a request waits for calls to leave a patch."""
_PAUSE = 0.002


class Reverting:
    """Waits for calls to leave patches; ``lock`` is never held meanwhile, because a call may need it to go on."""

    def __init__(self, lock: ForkLock, changed: Callable[[], None]) -> None:
        self.settler = Settler()
        self._lock = lock
        self._changed = changed

    def postponed(self, name: str, work: Callable[[], object]) -> bool:
        """Whether this thread is in the middle of our own work; then ``work`` is done once that is over.

        A signal's handler may ask for something there, or what a patch calls while it is put in place.
        """
        if self._lock.is_held_here:
            self.settler.until_done(name, lambda: work() is not False)
            return True
        return False

    def revert(self, patches: Sequence[LivePatch], seconds: float) -> None:
        """Undo patches; one that calls are inside for so long stays, and says so."""
        if [live for live in patches if self.postponed(live.name, partial(self._undone, live))]:
            return
        self._undo([live for live in patches if live.open])
        busy = self.wait(patches, self._undo, seconds)
        with self._lock:
            for live in busy:
                live.keep(f"not reverted, because calls are inside it: {live.busy}; revert it again")
                live.busy = ""
            self._changed()

    def quarantine(self, live: LivePatch, reason: str) -> None:
        """Undo a patch for as long as this process lives, now or as soon as no call is inside."""

        def attempt() -> bool:
            with self._lock:
                if not live.open:
                    return True
                try:
                    foreign = live.withdraw(force=False)
                except BusyError:
                    return False
                live.settle("reverted", "; ".join([reason, *foreign]))
                self._changed()
                return True

        live.quarantined = True
        if not self.postponed(live.name, attempt) and not attempt():
            live.keep(f"about to be reverted, as soon as no call is inside it: {reason}")
            self.settler.until_done(live.name, attempt)

    def wait(
        self, patches: Sequence[LivePatch], again: Callable[[list[LivePatch]], None], seconds: float
    ) -> list[LivePatch]:
        """Try again while calls of other threads are inside patches; gives those that calls are still inside."""
        deadline = time.monotonic() + seconds
        while (busy := [live for live in patches if live.busy]) and time.monotonic() < deadline:
            if any(OURSELVES in live.busy for live in busy):
                break  # the call that waits would wait for itself
            time.sleep(_PAUSE)
            again(busy)
        return busy

    def _undone(self, live: LivePatch) -> bool:
        """Undo one patch beside the process's own work; whether that is done."""
        self._undo([live] if live.open else [])
        return not live.busy

    def _undo(self, patches: Sequence[LivePatch]) -> None:
        with self._lock:
            undone = {live: live.undo() for live in patches}
            held = out_of_reach(site.reversed() for sites in undone.values() for site in sites or ())
            for live, sites in undone.items():
                if sites is not None:
                    live.settle("reverted", "; ".join(["undone on request", *holders_of(sites, held)]))
            self._changed()
