"""Waking: from the finder that waits since interpreter start to the toolkit, when a root is imported."""

import sys

from ascend_patches.process.finder import finder, say
from ascend_patches.settings.mode import asked_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def start(how: str, roots: "Iterable[str]") -> None:
    """Wait for the first of the roots to be imported; ``how`` goes into the report. Safe to call twice."""
    if finder.started_by is None:
        finder.started_by = how
        finder.knows_all = bool(finder.after)
    for root in filter(None, roots):
        finder.before.setdefault(root, wake)
    finder.install()


def take_over(waiting: "Any", name: str, path: "Any", target: "Any") -> "Any":
    """Take the place of the module that waited since interpreter start, and answer in its stead."""
    if finder not in sys.meta_path and waiting in sys.meta_path:
        # In place: another thread may be walking the list, and must neither miss nor repeat one of its entries.
        sys.meta_path[sys.meta_path.index(waiting)] = finder
    start("sitecustomize" if waiting.__name__ == "sitecustomize" else ".pth", waiting.roots)
    return finder.find_spec(name, path, target)


def wake() -> None:
    """Start the toolkit proper, because a root is being imported."""
    try:
        from ascend_patches.starting.this_process import activate
    except BaseException as error:
        from ascend_patches.basics.interrupts import is_interrupt

        if is_interrupt(error):
            raise
        complaint = f"cannot start, no patch is on: {type(error).__name__}: {error}"
        if asked_for() == "strict":
            from ascend_patches.errors import StrictModeError

            raise StrictModeError(f"strict mode: {complaint}") from error
        if finder.unreachable.get("ascend_patches") != complaint:
            finder.unreachable["ascend_patches"] = complaint
            say(complaint)
        finder.knows_all = True
        return
    activate(finder.started_by or "start")
