"""A release's worker and the encoders that are timed in it."""

from __future__ import annotations

from ascend_patches.checks.as_worker import start
from ascend_patches.checks.encoders import EVERY_ENCODER, Encoder
from ascend_patches.declaring.gates import always
from ascend_patches.patches.more_encoders.checks import WHERE
from ascend_patches.upstream.environment import Here

__all__ = ["encoders", "start"]


def encoders() -> dict[str, Encoder]:
    """Those that the release has."""
    here = Here()
    return {
        name: encoder
        for name, encoder in EVERY_ENCODER.items()
        if encoder.there() and WHERE.get(name, always).judge(here).holds
    }
