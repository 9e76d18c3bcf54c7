"""A value that is a dictionary of constants' names: it is merged by its keys, and known again by its entries."""

from __future__ import annotations

import ast
from typing import NamedTuple

from ascend_patches.carrying.inventory import Item, parsed

_MOSTLY = 0.5


class Merged(NamedTuple):
    """The release's dictionary with a change in it, as text; empty, with the reason, where there is none."""

    text: str
    reason: str = ""
    already: bool = False


def merged(old: Item, new: Item, release: Item, texts: tuple[str, str], in_order: bool) -> Merged:
    """What becomes of a dictionary of which a change and the release each altered entries.

    The texts are those of the change's statement and of the release's; ``in_order`` says whether something goes over
    the entries, so that it matters which comes first. What a change takes out of one is left to a person: nothing shows
    what the release's own entries are for.
    """
    base, theirs, ours = (entries(each.node) for each in (old, new, release))
    if base is None or theirs is None or ours is None:
        return Merged("", "the release has another value")
    before, after, here = ({key: ast.dump(value) for key, value in each.items()} for each in (base, theirs, ours))
    changed = [key for key in after if before.get(key) != after[key]]
    if before.keys() - after.keys() or not changed:
        return Merged("", "the release has another value")
    if all(here.get(key) == after[key] for key in changed):
        return Merged("", "the release has the same entries", already=True)
    other = next((key for key in changed if here.get(key) != before.get(key)), None)
    if other is not None:
        return Merged("", f"the release has the entry {other!r} otherwise, or not at all")
    if not alike(old, release):
        return Merged("", "the release has another value, and hardly an entry of the one that the change was made to")
    if in_order and not _keep_their_order([*before], [*after], [*here]):
        return Merged("", "something goes over the entries, and the order of the release's and the change's is open")
    text = _put_in(texts[1], texts[0], changed)
    node = parsed(text)
    made = entries(node) if node is not None else None
    wanted = {**here, **{key: after[key] for key in changed}}
    if made is None or {key: ast.dump(value) for key, value in made.items()} != wanted:
        return Merged("", "the release has another value")
    return Merged(text)


def entries(node: ast.stmt) -> dict[str, ast.expr] | None:
    """The entries of a dictionary that a statement binds to one name; None where it is another thing."""
    value = getattr(node, "value", None)
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    if not isinstance(value, ast.Dict) or len(targets) != 1 or not isinstance(targets[0], ast.Name):
        return None
    names = [each.value for each in value.keys if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if len(names) != len(value.keys) or len(set(names)) != len(names):
        return None
    return dict(zip(names, value.values, strict=True))


def alike(one: Item, other: Item) -> bool:
    """Whether two dictionaries are two forms of one: they share keys, and have mostly the same under these."""
    mine, theirs = entries(one.node) or {}, entries(other.node) or {}
    shared = mine.keys() & theirs.keys()
    same = [key for key in shared if ast.dump(mine[key]) == ast.dump(theirs[key])]
    return bool(shared) and len(same) > _MOSTLY * len(shared)


def is_most_of(one: Item, other: Item) -> bool:
    """Whether a dictionary has most of another's entries: a key or two may be shared by different ones."""
    mine, theirs = entries(one.node) or {}, entries(other.node) or {}
    same = [key for key in mine.keys() & theirs.keys() if ast.dump(mine[key]) == ast.dump(theirs[key])]
    return len(same) > _MOSTLY * len(mine)


def _keep_their_order(before: list[str], after: list[str], here: list[str]) -> bool:
    """Whether nothing depends on which of two entries comes first where the sides do not say it alike.

    Of an entry of the change and one of the release's own nothing says it: they may both be found in one text.
    """
    common = [key for key in after if key in here]
    if common != [key for key in here if key in after]:
        return False
    added, own = ([key for key in side if key not in before] for side in (after, here))
    return not any(one in other or other in one for one in added for other in own)


def _put_in(ours: str, theirs: str, keys: list[str]) -> str:
    """The text of one dictionary with entries of another's text, each before those that follow it there."""
    for key in keys:
        pieces, here = _places(theirs), _places(ours)
        if key not in pieces or not here:
            return ""
        entry = theirs[slice(*pieces[key])]
        order = [*pieces]
        following = next((each for each in order[order.index(key) + 1 :] if each in here), "")
        if key in here:
            first, last = here[key]
            ours = f"{ours[:first]}{entry}{ours[last:]}"
        elif following:
            first, _ = here[following]
            ours = f"{ours[:first]}{entry},{_margin(ours, first) or ' '}{ours[first:]}"
        else:
            first, last = max(here.values())
            ours = f"{ours[:last]},{_margin(ours, first) or ' '}{entry}{ours[last:]}"
    return ours


def _margin(text: str, place: int) -> str:
    """The line break and the indentation before an entry that has a line of its own; empty where it has none."""
    start = text.rfind("\n", 0, place)
    return text[start:place] if start >= 0 and not text[start:place].strip() else ""


def _places(text: str) -> dict[str, tuple[int, int]]:
    """Where each entry of a dictionary stands in the text of its statement."""
    node = parsed(text)
    value = getattr(node, "value", None)
    if not isinstance(value, ast.Dict):
        return {}
    lines = text.split("\n")
    shift = 2 if text[:1].isspace() else 1
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)

    def at(line: int, column: int) -> int:
        return starts[line - shift] + len(lines[line - shift].encode()[:column].decode())

    return {
        str(key.value): (at(key.lineno, key.col_offset), at(each.end_lineno or 0, each.end_col_offset or 0))
        for key, each in zip(value.keys, value.values, strict=True)
        if isinstance(key, ast.Constant)
    }
