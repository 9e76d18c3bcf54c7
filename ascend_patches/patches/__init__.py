"""The patches this package carries, one file each."""

from __future__ import annotations

from ascend_patches.registry import Patch

PATCHES: tuple[Patch, ...] = ()
