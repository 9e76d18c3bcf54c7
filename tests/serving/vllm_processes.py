"""Which processes vLLM has started, told by the titles that it gives them."""

from __future__ import annotations

import psutil

FRONT_END, ENGINE_CORE, WORKER, ENDED = "front end", "engine core", "worker", "ended"
_TITLES = {"VLLM::EngineCore": ENGINE_CORE, "VLLM::Worker": WORKER}


def roles(front_end: int) -> dict[int, str]:
    """What the process and its children are to vLLM; helpers of Python's own are left out."""
    found = {front_end: FRONT_END}
    for child in psutil.Process(front_end).children(recursive=True):
        title = (child.cmdline() or [""])[0]
        for start, role in _TITLES.items():
            if title.startswith(start):
                found[child.pid] = role
    return found
