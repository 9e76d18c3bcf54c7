"""The order of torch_npu releases."""

from __future__ import annotations

import re

from .errors import CannotCheckError

_RELEASE = re.compile(r"(?P<numbers>\d+(?:\.\d+)+)(?:rc(?P<candidate>\d+))?(?:\.post(?P<post>\d+))?")
_FINAL = 1_000_000


def age(release: str) -> tuple[tuple[int, ...], int, int]:
    """A key that sorts releases from old to new: candidates before their release, post-releases after it."""
    match = _RELEASE.fullmatch(release)
    if match is None:
        raise CannotCheckError(f"{release!r} is not a release of torch_npu: write it like 2.13.0 or 2.7.1.post2.")
    numbers = tuple(int(number) for number in match["numbers"].split("."))
    return numbers, int(match["candidate"] or _FINAL), int(match["post"] or -1)
