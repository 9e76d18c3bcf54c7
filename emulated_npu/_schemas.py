"""The op schemas of torch_npu, verbatim and by release, and choosing a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

FILE = Path(__file__).with_name("schemas.json")


class UnknownReleaseError(ValueError):
    """A torch_npu release was asked for whose schemas are not known."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"the schemas of torch_npu {release!r} are not known; known releases: {', '.join(RELEASES)}. "
            f"Choose one of them, or add the release to {FILE}."
        )


@cache
def _by_release() -> Mapping[str, Mapping[str, str]]:
    content: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return MappingProxyType({release: MappingProxyType(ops) for release, ops in content.items()})


RELEASES: tuple[str, ...] = tuple(_by_release())
"""The known torch_npu releases, oldest first."""

NEWEST: str = RELEASES[-1]


def schemas(release: str) -> Mapping[str, str]:
    """The schemas of one release: ``"npu::npu_prefetch"`` -> ``"npu_prefetch(Tensor input, ...) -> ()"``."""
    try:
        return _by_release()[release]
    except KeyError:
        raise UnknownReleaseError(release) from None


def at_least(release: str, other: str) -> bool:
    """Whether ``release`` is ``other`` or newer; both must be known."""
    for known in (release, other):
        if known not in RELEASES:
            raise UnknownReleaseError(known)
    return RELEASES.index(release) >= RELEASES.index(other)
