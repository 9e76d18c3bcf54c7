"""Problems of our own, each said once in a process."""

from __future__ import annotations

import os
import sys

from ascend_patches.process.finder import say


class Complaints:
    """What was said on stderr, kept for the report."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, problem: str) -> None:
        if problem in self.said:
            return
        self.said.append(problem)
        say(problem)
        if os.environ.get("ASCEND_PATCHES_DEBUG") and sys.exc_info()[0] is not None:
            from traceback import format_exc

            say(format_exc())


def described(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"
