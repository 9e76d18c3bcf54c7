"""Names that a command line gives: found among those that are known, or refused with the nearest one."""

from __future__ import annotations

from collections.abc import Iterable

from ascend_patches.declaring.patch import Patch
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import AscendPatchesError


def patch_named(name: str, known: Registry) -> Patch:
    """The patch of that name; AscendPatchesError with the nearest name and all others."""
    patch = known.patches.get(name)
    if patch is None:
        all_names = ", ".join(sorted(known.patches)) or "none"
        raise AscendPatchesError(f"there is no patch {name!r}{nearest(name, known.patches)}; known are: {all_names}")
    return patch


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing where no known name is near."""
    from difflib import get_close_matches

    close = get_close_matches(name[:200], list(known), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
