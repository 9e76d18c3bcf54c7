"""What would be decided about a patch, by code that is looked at and not imported."""

from __future__ import annotations

from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Patch
from ascend_patches.settings.model import Choice
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Installation, Sources


def foresee(patch: Patch, choice: Choice, where: Environment, lock: Lock, code: Sources | None = None) -> Decision:
    """What an import of the code would lead to; without ``code``, of what is installed here.

    Beside the decision that is what activation would say of a replacement's signature.
    """
    code = code if code is not None else Installation()
    decision = decide(patch, where, code.look, lock, choice.unknown, code.has)
    if decision.variant is None or decision.verdict not in ("apply", "wait"):
        return decision
    from ascend_patches.deciding.signatures import misfit

    for rewrite in decision.variant.rewrites:
        if isinstance(rewrite, Carried) and _is_there(rewrite, code):
            reason = f"{rewrite.target}: the change adds this name, and it is there already"
            return decision._replace(verdict="fail", reason=reason, kind="")
        difference = misfit(rewrite, code)
        if difference:
            reason = f"{rewrite.target}: the replacement does not fit: {difference}"
            return decision._replace(verdict="fail", reason=reason, kind="")
    return decision


def _is_there(rewrite: Carried, code: Sources) -> bool:
    """Whether the code has what a carried change would add to it."""
    if rewrite.kind == "module":
        return code.has(rewrite.home)
    return rewrite.kind == "added" and not isinstance(code.find(rewrite.target), str)
