"""What became of the calls that were chosen for a shadow run."""

from __future__ import annotations

from threading import Lock


class Counts:
    """The calls of one patch in this process; ``left_out`` had no room, no copies or nothing that can be compared."""

    def __init__(self) -> None:
        self.compared = 0
        self.mismatches = 0
        self.original_failed = 0
        self.left_out = 0
        self._lock = Lock()

    def add(self, what: str) -> int:
        """Count one more; says how many it are now."""
        with self._lock:
            count: int = getattr(self, what) + 1
            setattr(self, what, count)
        return count

    def __str__(self) -> str:
        parts = [f"{self.compared} calls compared, {self.mismatches} differed"]
        parts += [f"in {self.original_failed} the original failed"] if self.original_failed else []
        parts += [f"{self.left_out} could not be compared"] if self.left_out else []
        return ", ".join(parts)
