"""The vLLM platform plugin: serves a whole engine on the emulated NPU where the environment asks for it.

vLLM calls every installed platform plugin at every start, so this module imports nothing but ``os`` until asked.
"""

from __future__ import annotations

import os

ASKED_BY = "EMULATED_NPU"
PLATFORM = "emulated_npu._vllm_platform.EmulatedNpuPlatform"


def plugin() -> str | None:
    """For the entry-point group ``vllm.platform_plugins``: the platform's class, or None where it was not asked for."""
    wish = os.environ.get(ASKED_BY, "")
    if wish in ("", "0"):
        return None
    # vLLM takes an exception here for "this platform is not present" and serves on another one without a word:
    # whatever speaks against the emulated NPU is logged here, or raised when vLLM builds the platform.
    from emulated_npu import _platform_choice

    return PLATFORM if _platform_choice.is_sound(wish) else None
