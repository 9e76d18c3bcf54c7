"""What can be wrong with the wish for the emulated platform, said before vLLM acts on it."""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points

from emulated_npu.vllm_plugin import ASKED_BY

_GROUP = "vllm.platform_plugins"
_REAL_NPU = "vllm_ascend"

_logger = logging.getLogger("emulated_npu")


def is_sound(wish: str) -> bool:
    """Whether the variable holds a wish that can be read; logs that one, and a rival platform."""
    if wish != "1":
        _logger.error("%s=%s is not understood and ignored: set it to 1, or to 0, or not at all.", ASKED_BY, wish)
        return False
    rival = _real_npu_platform()
    if rival is not None:
        _logger.error(
            "%s=1 asks for the emulated NPU, but vllm-ascend's platform %r is active as well, and vLLM allows one. "
            "To serve on the real NPU unset %s. To serve on the emulated one name the plugins that may load, "
            "without %r: VLLM_PLUGINS=emulated_npu (separated by commas)",
            ASKED_BY,
            rival,
            ASKED_BY,
            rival,
        )
    return True


def _real_npu_platform() -> str | None:
    allowed = os.environ.get("VLLM_PLUGINS")
    for entry_point in entry_points(group=_GROUP):
        is_allowed = allowed is None or entry_point.name in allowed.split(",")
        if is_allowed and entry_point.value.partition(":")[0].split(".")[0] == _REAL_NPU:
            return entry_point.name
    return None
