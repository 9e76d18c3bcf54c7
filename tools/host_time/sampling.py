"""Whose code the processor's time of some forwards is spent in, by samples of the running function."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_EVERY = 0.001
_REPOSITORY = str(Path(__file__).resolve().parents[2]) + "/"
_OF_PACKAGES = ("/site-packages/", "/site/")
"""What packages lie in, in an environment and in the cache of releases."""


def sampled(forward: Callable[[], Any], forwards: int) -> dict[str, Any]:
    """Shares of the time by owner and by function; a call into C counts for the Python function that made it."""
    seen: Counter[CodeType] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            seen[frame.f_code] += 1

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)
    try:
        for _ in range(forwards):
            forward()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    total = sum(seen.values()) or 1
    owners: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for code, times in seen.items():
        owners[owner_of(code.co_filename)] += times
        functions[
            f"{owner_of(code.co_filename)} {code.co_name} ({_short(code.co_filename)}:{code.co_firstlineno})"
        ] += times
    return {
        "samples": sum(seen.values()),
        "owners": {name: times / total for name, times in owners.most_common()},
        "functions": {name: times / total for name, times in functions.most_common(20)},
    }


def owner_of(path: str) -> str:
    """The package that a file belongs to."""
    begin = max(path.rfind(folder) + len(folder) if folder in path else -1 for folder in _OF_PACKAGES)
    if begin < 0 and path.startswith(_REPOSITORY):
        begin = len(_REPOSITORY)
    return path[begin:].split("/")[0] if begin >= 0 else "Python"


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])
