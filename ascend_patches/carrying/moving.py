"""Where a release has code that upstream has elsewhere by now."""

from __future__ import annotations

from difflib import SequenceMatcher

from ascend_patches.carrying import merging
from ascend_patches.carrying.change import FileChange
from ascend_patches.carrying.inventory import Inventory, Item, inventory
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.using import functions_named

_ALIKE = 0.8
_FILES_ALIKE = 0.7


def file_like(code: Code, file: FileChange, upstream: Code | None) -> str | None:
    """The one file of the release that defines nearly the same, under another path, and that upstream has no more."""
    wanted = _defined(file.before or "")
    if len(wanted) < 3:
        return None
    rare = sorted((name.rpartition(".")[2] for name in wanted), key=len, reverse=True)[:3]
    candidates: dict[str, float] = {}
    for word in rare:
        for path in code.with_word(word):
            if path in candidates or path.partition("/")[0] != file.old_path.partition("/")[0]:
                continue
            if upstream is not None and upstream.has_path(path):
                continue
            there = _defined(code.text(path) or "")
            candidates[path] = len(wanted & there) / len(wanted | there)
    good = [path for path, share in candidates.items() if share >= _FILES_ALIKE]
    return good[0] if len(good) == 1 else None


def function_like(
    code: Code, item: Item, before: Inventory, package: str, upstream: Code | None
) -> tuple[str, Item] | None:
    """The one function of the same name that is nearly the same, in another file or class of the package.

    What upstream has there as well has not moved: it is another one of the kind.
    """
    named = [
        (path, each)
        for path, each in functions_named(code, item.name)
        if bool(each.scope) == bool(item.scope) and each.scope.count(".") == item.scope.count(".")
    ]
    base = [unit.code for unit in merging.units(item.node, before.lines)]
    alike: list[tuple[float, str, Item]] = []
    for path, each in named:
        text = code.text(path)
        if upstream is not None and each.path in _defined(upstream.text(path) or ""):
            continue
        if text is None or path.partition("/")[0] != package:
            continue
        there = inventory(text)
        row = [unit.code for unit in merging.units(each.node, there.lines)]
        alike.append((SequenceMatcher(None, base, row, autojunk=False).ratio(), path, each))
    good = [each for each in alike if each[0] >= _ALIKE]
    if len(good) != 1 or len(base) < 4:
        return None
    return good[0][1], good[0][2]


def _defined(text: str) -> set[str]:
    try:
        return {path for path, items in inventory(text).items.items() if items[0].kind in ("function", "class")}
    except (SyntaxError, ValueError):
        return set()
