"""One patch that is shadowed in this process: its shadows, its counts, and what a mismatch leads to."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from ascend_patches.basics.paths import from_variable
from ascend_patches.declaring.patch import Patch, Rewrite
from ascend_patches.replacing.find import Found
from ascend_patches.replacing.one_step import Step, attribute
from ascend_patches.settings.model import Choice
from ascend_patches.shadow import kept
from ascend_patches.shadow.counts import Counts
from ascend_patches.shadow.run import Mismatch, Shadow, in_front
from ascend_patches.shadow.traffic import Traffic

FOLDER = "ASCEND_PATCHES_SHADOW_DIR"


class Callbacks(NamedTuple):
    """What a shadowed patch may do to the process it is in."""

    complain: Callable[[str], None]
    """Say a problem, once."""
    changed: Callable[[], None]
    """The counts are worth a new report."""
    quarantine: Callable[[str, str], None]
    """Revert the patch of that name, for that reason."""


class PatchShadow:
    """What stands in front of the replacements of one patch."""

    def __init__(self, patch: Patch, choice: Choice, callbacks: Callbacks) -> None:
        self.patch = patch
        self.share = choice.shadow
        self.quarantine_after = choice.quarantine
        self.counts = Counts()
        self.callbacks = callbacks
        self.folder = from_variable(FOLDER)
        self.traffic = Traffic()
        self.codes: set[CodeType] = set()
        """The code of all the patch's replacements, compared or not."""
        self._shadows: dict[str, Shadow] = {}
        self._spoken_of: set[str] = set()

    def in_front(self, rewrite: Rewrite, found: Found, value: Any) -> Any:
        """What to install instead of a prepared value; None where its calls cannot be compared."""
        made = in_front(self, rewrite, found, value)
        if made is None:
            return None
        if rewrite.target in self._shadows:  # its module was executed again, and objects of the old one are left
            self._shadows[rewrite.target].retire()
        installed, self._shadows[rewrite.target] = made
        return installed

    def covers(self, target: str) -> bool:
        """Whether all callers of what was installed at a target can be led back to the original."""
        return target in self._shadows

    def retiring(self) -> list[Step]:
        """What retires all shadows, as steps of the one that takes the patch out."""
        return [attribute(shadow, "retired", True) for shadow in self._shadows.values()]

    def retire(self) -> None:
        """The patch is taken out: existing objects that hold what was installed get the original from now on."""
        for shadow in self._shadows.values():
            shadow.retire()
        self._shadows.clear()

    def count(self, what: str, reason: str = "") -> None:
        """One call more; the report is brought up to date when their number has doubled."""
        count = self.counts.add(what, reason)
        if count & (count - 1) == 0:
            self._changed()

    def difference(self, original: Any, patched: Any) -> str | None:
        """What is different beyond the patch's tolerance, in words."""
        return self.patch.tolerance.close(original, patched)

    def mismatched(self, mismatch: Mismatch) -> None:
        """A replacement gave another answer than the original."""
        count = self.counts.add("mismatches")
        if mismatch.target not in self._spoken_of:
            self._spoken_of.add(mismatch.target)
            self.callbacks.complain(f"{self.patch.name} differs from the original: {mismatch}")
        if mismatch.inputs is not None:
            self._keep(mismatch)
        if count == self.quarantine_after:
            if len(self._shadows) == 1:
                self.retire()  # of several, none may be retired before the others
            times = "a call" if count == 1 else f"{count} calls, the last of them"
            reason = f"reverted by itself after {times} that differed from the original: {mismatch}"
            self.callbacks.quarantine(self.patch.name, f"{reason}. It stays so until this process ends")
        self._changed()

    def as_data(self) -> dict[str, Any]:
        """For the report."""
        return {
            "share": self.share,
            "quarantine": self.quarantine_after,
            "compared": self.counts.compared,
            "mismatches": self.counts.mismatches,
            "original_failed": self.counts.original_failed,
            "left_out": self.counts.left_out,
            "reasons": dict(self.counts.reasons),
        }

    def _changed(self) -> None:
        try:
            self.callbacks.changed()
        except Exception as error:  # the call that is being answered has nothing to do with reports
            self._complain("report", f"its counts are not in the report: {error}")

    def _complain(self, kind: str, what: str) -> None:
        """Say a problem, the first of each kind: the words of an error may be others each time."""
        if kind not in self._spoken_of:
            self._spoken_of.add(kind)
            self.callbacks.complain(f"{self.patch.name}: {what}")

    def _keep(self, mismatch: Mismatch) -> None:
        args, kwargs = mismatch.inputs or ((), {})
        contents = {"patch": self.patch.name, "mismatch": str(mismatch), "args": args, "kwargs": kwargs}
        try:
            path = kept.write(self.folder, self.patch.name, contents)
        except Exception as error:
            self._complain(f"kept: {type(error)}", f"the inputs of a call that differed are not kept: {error}")
        else:
            self.callbacks.complain(f"{self.patch.name}: the inputs of a call that differed are in {path}")
