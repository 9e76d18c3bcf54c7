"""What became of the calls that were chosen for a shadow run."""

from __future__ import annotations

from threading import RLock

_KINDS = 16


class Counts:
    """The calls of one patch in this process; ``left_out`` could not be compared, for the reasons counted beside it."""

    def __init__(self) -> None:
        self.compared = 0
        self.mismatches = 0
        self.original_failed = 0
        self.left_out = 0
        self.reasons: dict[str, int] = {}
        self._lock = RLock()  # a signal's handler may come to it while its thread holds it

    def add(self, what: str, reason: str = "") -> int:
        """Count one more; returns how many it are now."""
        with self._lock:
            count: int = getattr(self, what) + 1
            setattr(self, what, count)
            if reason:
                kind = reason if reason in self.reasons or len(self.reasons) < _KINDS else "other reasons"
                self.reasons[kind] = self.reasons.get(kind, 0) + 1
        return count

    def __str__(self) -> str:
        parts = [f"{self.compared} calls compared, {self.mismatches} differed"]
        parts += [f"in {self.original_failed} the original failed"] if self.original_failed else []
        if self.left_out:
            why = ", ".join(f"{reason}: {count}" for reason, count in sorted(self.reasons.items()))
            parts.append(f"{self.left_out} could not be compared" + (f" ({why})" if why else ""))
        return ", ".join(parts)
