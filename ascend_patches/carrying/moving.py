"""Where a release has code that upstream has elsewhere by now."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from ascend_patches.carrying import mappings, merging
from ascend_patches.carrying.change import FileChange
from ascend_patches.carrying.inventory import Inventory, Item, inventory
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.using import functions_named

_ALIKE = 0.7
_ALIKE_UNSEEN = 0.8
"""Without upstream's tree nothing shows whether a function alike is the same one."""
_SHORTEST = 4
_FILES_ALIKE = 0.7
_CLASSES_ALIKE = 0.7


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
    code: Code, item: Item, before: Inventory, place: str, upstream: Code | None
) -> tuple[str, Item] | None:
    """The one function of the same name that is nearly the same, in another file or class of the package.

    What upstream has there as well has not moved: it is another one of the kind.
    """
    base = [unit.code for unit in merging.units(item.node, before.lines)]
    if len(base) < _SHORTEST:
        return None
    least = _ALIKE if upstream is not None else _ALIKE_UNSEEN
    package = place.partition("/")[0]
    good: list[tuple[str, Item]] = []
    for path, each in functions_named(code, item.name, f"{package}/"):
        text = code.text(path)
        if text is None or each.scope.count(".") != item.scope.count("."):
            continue
        if bool(each.scope) != bool(item.scope) or each.path in _defined(
            (upstream.text(path) if upstream is not None else None) or ""
        ):
            continue
        row = [unit.code for unit in merging.units(each.node, inventory(text).lines)]
        if SequenceMatcher(None, base, row, autojunk=False).ratio() >= least:
            good.append((path, each))
    return good[0] if len(good) == 1 else None


def mapping_like(code: Code, item: Item, place: str, upstream: Code | None) -> tuple[str, Item] | None:
    """The one dictionary of the same name and mostly the same entries in another module that upstream has not there."""
    if upstream is None or item.scope or mappings.entries(item.node) is None:
        return None
    good: list[tuple[str, Item]] = []
    for path in code.with_word(item.name):
        if not path.startswith(f"{place.partition('/')[0]}/") or path == place:
            continue
        module = code.module_at(path)
        there = module.inventory.one(item.path) if module is not None else None
        if there is None or there.kind != "attribute" or item.path in _named(upstream.text(path) or ""):
            continue
        if mappings.alike(item, there) and mappings.is_most_of(item, there):
            good.append((path, there))
    return good[0] if len(good) == 1 else None


def is_renamed(
    code: Code, path: str, scope: str, before: Inventory, upstream_scope: str, upstream: Code | None
) -> bool:
    """Whether a class of the release is the one that has another name upstream: alike, and upstream has it no more."""
    text = code.text(path)
    if upstream is None or text is None or not scope or not upstream_scope:
        return False
    if any(True for file in upstream_files_with(code, upstream, scope)):
        return False
    ours, theirs = (
        {each.removeprefix(f"{top}.") for each in _defined(side) if each.startswith(f"{top}.")}
        for side, top in ((text, scope), (before.text, upstream_scope))
    )
    return len(ours & theirs) >= _CLASSES_ALIKE * len(ours | theirs) and len(ours & theirs) >= _SHORTEST


def upstream_files_with(code: Code, upstream: Code, scope: str) -> Iterator[str]:
    """The files of the release's packages that have a class upstream, where the release has one of its name."""
    for path in code.with_word(f"class {scope.rpartition('.')[2]}"):
        if scope in _defined(upstream.text(path) or ""):
            yield path


def classes_named(code: Code, item: Item, place: str, upstream: Code | None) -> Iterator[str]:
    """The other files of the package that have a class of that name, and had none where the change was made."""
    package = place.partition("/")[0]
    for path in code.with_word(f"class {item.name}"):
        if path == place or not path.startswith(f"{package}/") or item.path not in _defined(code.text(path) or ""):
            continue
        if upstream is None or item.path not in _defined(upstream.text(path) or ""):
            yield path


def _named(text: str) -> set[str]:
    try:
        return set(inventory(text).items)
    except (SyntaxError, ValueError):
        return set()


def _defined(text: str) -> set[str]:
    try:
        return {path for path, items in inventory(text).items.items() if items[0].kind in ("function", "class")}
    except (SyntaxError, ValueError):
        return set()
