"""What would be decided about a patch, by code that is looked at and not imported."""

from __future__ import annotations

from ascend_patches.decision import Decision, decide
from ascend_patches.environment import Environment
from ascend_patches.lock import Lock
from ascend_patches.registry import Patch
from ascend_patches.settings import Choice
from ascend_patches.sources import Installation, Sources


def foresee(patch: Patch, choice: Choice, where: Environment, lock: Lock, code: Sources | None = None) -> Decision:
    """The decision that an import of the code would lead to; without ``code``, of what is installed here."""
    code = code if code is not None else Installation()
    return decide(patch, where, code.look, lock, choice.unknown, code.has)
