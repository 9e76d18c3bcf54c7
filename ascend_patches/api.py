"""The three functions that a program calls: apply, revert, ask."""

from __future__ import annotations

import os
from typing import Any

from ascend_patches.reporting import report
from ascend_patches.starting.this_process import toolkit


def apply_patches(config: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Apply every patch that is on; what is not imported yet is patched when it is. Returns the status.

    May be called at any time and any number of times, whatever else has activated the toolkit before. ``config`` names
    a settings file. Raises StrictModeError in strict mode, and nothing else for anything that is wrong with upstream.
    """
    toolkit.activate("apply_patches()", config=config)
    toolkit.apply()
    return status()


def revert_patches(*names: str) -> dict[str, Any]:
    """Undo the named patches, or all of them. Returns the status.

    What other code has replaced since is left alone; its patch stays applied and says so.
    """
    toolkit.revert(names)
    return status()


def status() -> dict[str, Any]:
    """What every patch is doing in this process, and why: what ``ascend-patches status --json`` prints."""
    return report.status(toolkit)
