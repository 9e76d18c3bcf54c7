"""Other settings for a toolkit that is at work: what they switch off is undone, what they switch on is applied."""

from __future__ import annotations

from ascend_patches.errors import StrictModeError
from ascend_patches.process.live_patch import LivePatch
from ascend_patches.process.reverting import SECONDS
from ascend_patches.process.toolkit import Toolkit, foreseen
from ascend_patches.settings.model import Choice, Settings

_UNDONE = "undone on request"


def resettle(toolkit: Toolkit, settings: Settings, all_off: str = "") -> None:
    """Go on with other settings; ``all_off`` is why no patch is on, if none is to be."""
    choices: dict[str, Choice] = {}
    for name, live in toolkit.patches.items():
        choice = settings.choice(live.patch, toolkit.where)
        choices[name] = choice._replace(enabled=False, reason=all_off) if all_off else choice
    other = [live for name, live in toolkit.patches.items() if _differs(live, choices[name])]
    toolkit.reverting.revert([live for live in other if live.sites], SECONDS)
    with toolkit.lock:
        toolkit.settings = settings
        for live in other:
            _choose(live, choices[live.name])
        toolkit.watch()
    if settings.mode == "strict":
        complaints = [*toolkit.registry.problems, *foreseen(live for live in toolkit.patches.values() if live.open)]
        if complaints:
            raise StrictModeError(f"strict mode: {'; '.join(complaints)}")
    toolkit.advance(other)


def _differs(live: LivePatch, choice: Choice) -> bool:
    return not live.quarantined and choice._replace(reason="") != live.choice._replace(reason="")


def _choose(live: LivePatch, choice: Choice) -> None:
    """Have a patch that was undone, or never applied, follow another choice."""
    before, live.choice = live.choice, choice
    if live.sites:  # it could not be undone, and says why
        return
    if not choice.enabled:
        # Objects that keep the old code are named behind what was said of the undoing.
        kept = live.reason.removeprefix(_UNDONE) if live.reason.startswith(_UNDONE) else ""
        live.decision = None
        live.settle("skipped", f"{choice.reason}{'; too late for' + kept.lstrip(';') if kept else ''}")
    elif not before.enabled or live.state in ("waiting", "applied", "reverted"):
        live.settle("waiting", choice.reason)
