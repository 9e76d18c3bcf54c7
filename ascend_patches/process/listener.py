"""What follows a toolkit: reports, metrics and last words, none of which the toolkit knows by name."""

from __future__ import annotations


class Listener:
    """Each method is one moment in the life of a process, and does nothing here."""

    def strict(self) -> None:
        """Strict mode is on, and nothing has been decided yet."""

    def activated(self) -> None:
        """What could be applied is applied."""

    def changed(self) -> str:
        """A state may have changed; returns what keeps this listener from its work, empty if nothing does."""
        return ""

    def forked(self) -> str:
        """This process is a fork and has just begun; returns as ``changed`` does."""
        return ""

    def stopped(self, reason: str) -> None:
        """Strict mode stops this process."""
