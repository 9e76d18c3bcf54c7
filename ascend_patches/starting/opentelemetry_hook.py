"""The way in behind opentelemetry-instrument, whose sitecustomize does not run the one that it hides.

Loaded by the group ``opentelemetry_pre_instrument``, which opentelemetry-instrument has for this. Where ours is the one
that it hides, the toolkit is started here; where ours is not on PYTHONPATH, nothing is started.
"""

from __future__ import annotations

import os
import sys

from ascend_patches.settings.mode import asked_for
from ascend_patches.starting import waking


def start() -> None:
    """Do what our sitecustomize would have done."""
    if asked_for() == "off" or _has_run():
        return
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sitecustomize")
    if ours in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        roots = ["vllm", "vllm_ascend", *os.environ.get("ASCEND_PATCHES_ROOTS", "").split(",")]
        waking.start("sitecustomize, behind opentelemetry-instrument", roots)


def _has_run() -> bool:
    return any(hasattr(waiting, "run_next_sitecustomize") for waiting in sys.meta_path)
