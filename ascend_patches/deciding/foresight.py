"""What would be decided about a patch, by code that is looked at and not imported."""

from __future__ import annotations

from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Patch
from ascend_patches.settings.reader import Choice
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Installation, Sources


def foresee(patch: Patch, choice: Choice, where: Environment, lock: Lock, code: Sources | None = None) -> Decision:
    """The decision that an import of the code would lead to; without ``code``, of what is installed here."""
    code = code if code is not None else Installation()
    return decide(patch, where, code.look, lock, choice.unknown, code.has)
