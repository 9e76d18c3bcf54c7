"""Strict mode's last words: why one process of a server stopped, said again at the end by the process that began all.

vLLM works in helpers, an engine core and workers. When one of these must not go on, its own last line says why; but the
server ends later, with an error of vLLM's that only tells that something failed further up.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import suppress

from ascend_patches.process.finder import say

VARIABLE = "ASCEND_PATCHES_LAST_WORDS"
"""Names the file in which every process of the server leaves its reason; those that are started inherit it."""


_LONGEST = 4_000
_MOST = 16 * _LONGEST


def keep() -> None:
    """In the first process in strict mode: have the others leave their reasons, and say them at its own end."""
    if VARIABLE in os.environ:
        return
    with suppress(OSError):  # no disk, no last words
        descriptor, file = tempfile.mkstemp(prefix="ascend_patches-last-words-")
        os.close(descriptor)
        os.environ[VARIABLE] = file
        atexit.register(_say, file, os.getpid())


def leave(reason: str) -> None:
    """Have the first process say this as its last words."""
    file = os.environ.get(VARIABLE)
    if file:
        with suppress(OSError), open(file, "a", encoding="utf-8", errors="replace", opener=_without_links) as stream:
            stream.write(f"{reason[:_LONGEST]}\n")


def _say(file: str, keeper: int) -> None:
    if os.getpid() != keeper:  # a fork, which has inherited what is to be done at exit
        return
    with suppress(OSError):
        with open(file, encoding="utf-8", errors="replace", opener=_without_links) as stream:
            # Several workers may have stopped for the same reason.
            reasons = dict.fromkeys(stream.read(_MOST).splitlines())
        os.unlink(file)
        for reason in reasons:
            say(reason)


def _without_links(file: str, flags: int) -> int:
    """Open the file itself: what a link or a pipe in its place leads to is not ours."""
    return os.open(file, flags & ~os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK)
