"""Modules of this process, as the import system keeps them."""

from __future__ import annotations


def is_being_executed(module: object) -> bool:
    """Whether a module's code is still running for the first time, so that it may lack names of its own."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
