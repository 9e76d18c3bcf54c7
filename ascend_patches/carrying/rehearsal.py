"""Whether changes merge into a release one upon the other: rehearsed on the statements of their functions alone.

It takes milliseconds where carrying takes seconds, and so decides which sets of earlier changes are worth carrying.
"""

from __future__ import annotations

from collections.abc import Sequence

from ascend_patches.carrying import chains, merging
from ascend_patches.carrying.chains import Row
from ascend_patches.carrying.history import Altered, History
from ascend_patches.carrying.release_code import Code


class Rehearsal:
    """Merges functions into a release's as the changes would, and keeps what it has read of both."""

    def __init__(self, code: Code, history: History) -> None:
        self._code = code
        self._history = history
        self._rows: dict[tuple[str, str], Row] = {}

    def release(self, file: str, path: str) -> Row:
        """The statements of a function of the release."""
        key = (file, path)
        if key not in self._rows:
            self._rows[key] = chains.row(self._code.text(file), path)
        return self._rows[key]

    def stopped(self, ordered: Sequence[str], elsewhere: frozenset[str] = frozenset()) -> list[Altered] | None:
        """The functions at which the first commit stops that does not merge; None where one cannot be read at all.

        Empty where all merge. ``elsewhere`` are files whose code the release has in others, and which are passed over.
        """
        state: dict[tuple[str, str], Row] = {}
        for sha in ordered:
            altered = self._history.altered(sha)
            if altered is None:
                return None
            stopped = [one for one in altered if one.file not in elsewhere and not self._advance(one, state)]
            if stopped:
                return stopped
        return []

    def _advance(self, one: Altered, state: dict[tuple[str, str], Row]) -> bool:
        """Whether one function merges into what is there, which is then what it makes of it."""
        key = (one.file, one.path)
        there = state[key] if key in state else self.release(*key)
        before, after = one.step.before, one.step.after
        if after is None or (there is not None and _codes(there) == _codes(after)):
            return True
        if before is None:
            state[key] = after
            return there is None
        if there is None:
            return False
        merged = merging.merge(before, after, there)
        state[key] = merged.units
        return not merged.conflicts


def _codes(row: Sequence[merging.Unit]) -> list[str]:
    return [unit.code for unit in row]
