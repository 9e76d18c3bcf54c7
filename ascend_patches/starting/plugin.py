"""The way in through vLLM: its general plugins are loaded in every process before any model module."""

from __future__ import annotations

import os


def activate() -> None:
    """Activate the toolkit, unless it is switched off."""
    if os.environ.get("ASCEND_PATCHES", "").strip().lower() != "off":
        from ascend_patches.process import toolkit as activation

        activation.activate("vllm plugin")
