"""Looks again at what patches rely on: code that is exchanged after its import was never verified.

It is looked at whenever a state is asked for, when vllm-ascend has patched a worker, and at the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from ascend_patches.errors import StrictModeError
from ascend_patches.process.forking import ForkLock
from ascend_patches.process.live_patch import LivePatch

EXCHANGING = ("vllm_ascend.patch.platform", "vllm_ascend.patch.worker")
"""What vllm-ascend patches vLLM with, in every process and in a worker: modules of before are changed by it."""


class SecondLook:
    """Has patches decided about again; ``guard`` is around what happens within upstream's own work."""

    def __init__(
        self,
        lock: ForkLock,
        patches: Mapping[str, LivePatch],
        decide: Callable[[list[LivePatch]], None],
        guard: Callable[[], AbstractContextManager[None]],
        report: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._patches = patches
        self._decide = decide
        self._guard = guard
        self._report = report

    def now(self) -> None:
        """Decide again about the patches of which something that they rely on was exchanged."""
        if self._lock.is_held_here:  # in the middle of a decision already
            return
        with self._lock:
            moved = [live for live in self._patches.values() if live.rests_on_other_code()]
        if moved:
            self._decide(moved)

    def when(self, *_: object) -> None:
        """A module that exchanges code of others has just been executed, or something is called for the first time."""
        with self._guard():
            self.now()
            # What was put over a target meanwhile is in the report from now on, for those who cannot ask this process.
            self._report()

    def quietly(self, stop: Callable[[str], None]) -> None:
        """The same where the question was only how things are: strict mode says why, and the next import ends."""
        try:
            self.now()
        except StrictModeError as error:
            stop(str(error))

    def settled(self, live: LivePatch) -> bool:
        """Decide again about a patch that calls were inside of; whether it needs no more of that."""
        if live.busy:
            with self._guard():
                self._decide([live])
        return not live.busy
