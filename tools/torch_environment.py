"""The environment with torch that most tools need, and the way into it for a tool that was started without."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from venvs import CORE, REPOSITORY, TEST, CannotMakeError, environment, pythons

TORCH = ["torch==2.13.0", "numpy", "safetensors", "transformers==4.57.6", *CORE, *TEST, "pytest-xdist"]


def torch_python() -> str:
    """The Python for everything that needs torch: 3.11 where there is one, as most releases were made for it."""
    return pythons().get("3.11", sys.executable)


def go_on_with_torch() -> None:
    """Start this tool again in the environment with torch, where the Python that runs it has none.

    A Python that has torch is left alone: it may be the one with a real NPU.
    """
    if importlib.util.find_spec("torch") is not None:
        return
    try:
        interpreter = environment("torch", TORCH, torch_python())
    except CannotMakeError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    os.execve(interpreter, [str(interpreter), *sys.argv], {**os.environ, "PYTHONPATH": path})
