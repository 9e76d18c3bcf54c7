"""The way in through vLLM: its general plugins are loaded in every process before any model module."""

from __future__ import annotations

from ascend_patches.settings.mode import asked_for


def activate() -> None:
    """Activate the toolkit, unless it is switched off."""
    if asked_for() != "off":
        from ascend_patches.starting.this_process import activate

        activate("vllm plugin")
