"""The one error of the contract tool: something keeps it from checking, and what to do about it."""

from __future__ import annotations


class CannotCheckError(Exception):
    """The contract could be neither confirmed nor refuted."""
