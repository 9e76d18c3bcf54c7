"""A release's worker and the encoders that are timed in it."""

from __future__ import annotations

from ascend_patches.checks.as_worker import start
from ascend_patches.checks.encoders import ENCODERS, Encoder

__all__ = ["encoders", "start"]


def encoders() -> dict[str, Encoder]:
    return dict(ENCODERS)
