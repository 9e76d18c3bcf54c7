"""Paths as a person writes them, in surroundings that may have no current directory."""

from __future__ import annotations

import os


def absolute(path: str) -> str:
    """The path from the root; as it is where the current directory was deleted and there is none to begin from."""
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def from_variable(variable: str) -> str:
    """The path that an environment variable holds, its ~ expanded; empty where it is not set."""
    return os.path.expanduser(os.environ.get(variable, ""))
