"""What the statements of a merged definition make doubtful, each doubt in a sentence."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence

from ascend_patches.carrying import merging, reaching, repeating
from ascend_patches.carrying.branches import never_together
from ascend_patches.carrying.merging import Merged, Unit
from ascend_patches.carrying.statement_text import assigned, bare, read, read_dotted, statement
from ascend_patches.carrying.usage import dotted

TRIVIAL = ("pass", "return", "continue", "break", "else:", "try:", "(docstring)")
_LOOP = re.compile(r"((?:async )?for .+?) in ")
Blocks = Counter[tuple[str, tuple[str, ...]]]


def merge_doubts(base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Merged) -> list[str]:
    """Doubts about one merged definition, from its statements alone."""
    doubts = []
    upstream, here = merging.difference(base, theirs), merging.difference(ours, merged.units)
    if merged.by_lines:
        # Inside a statement that both sides changed there are no statements to compare, but the words of it.
        if not merging.same_words(base, theirs, ours, merged.units):
            doubts.append("both sides changed one statement, and the merge of it is not upstream's own difference")
    elif not merging.same_difference(upstream, here):
        doubts += _other_difference(upstream, here)
    else:
        doubts += _other_blocks(base, theirs, ours, merged.units)
    # What was merged line by line is made of statements again.
    row = merging.units_of(merged.text) if merged.by_lines else merged.units
    doubts += _there_already(base, theirs, ours, row)
    doubts += _other_values(base, theirs, ours, row)
    doubts += _other_order(base, theirs, ours, row)
    return list(dict.fromkeys(doubts))


def short(code: str) -> str:
    """A statement's first line, as far as a sentence has room for it."""
    line = code.strip().partition("\n")[0]
    return line if len(line) <= 90 else f"{line[:87]}..."


def _codes(row: Sequence[Unit]) -> Counter[str]:
    """The statements of a row, each without the ``else:`` that goes with it."""
    return Counter(bare(unit.code) for unit in row)


def _other_difference(
    upstream: tuple[Counter[str], Counter[str]], here: tuple[Counter[str], Counter[str]]
) -> list[str]:
    found = []
    for code in (upstream[0] - here[0]).elements():
        found.append(f"upstream takes away or moves `{short(code)}`, which the release does not have like that")
    for code in (upstream[1] - here[1]).elements():
        found.append(f"upstream puts in `{short(code)}`, and the merge does not")
    for code in ((here[0] - upstream[0]) + (here[1] - upstream[1])).elements():
        found.append(f"the merge changes `{short(code)}`, which upstream's change does not")
    return found or ["the merge is not upstream's own difference"]


def _other_blocks(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Statements that the change puts into, or takes out of, a block that the release enters on another condition."""
    upstream = merging.placed(base, theirs), merging.placed(theirs, base)
    here = merging.placed(ours, merged), merging.placed(merged, ours)
    if _replaced_in_a_loop(upstream, here):
        return []
    found = []
    for there, ours_of_it in zip(upstream, here, strict=True):
        for code, blocks in (ours_of_it - there).elements():
            around = blocks[-1] if blocks else "no condition"
            found.append(f"`{short(code)}` is in another block on the release: {short(around)}")
    return found


def _replaced_in_a_loop(upstream: tuple[Blocks, Blocks], here: tuple[Blocks, Blocks]) -> bool:
    """Whether statements only take the place of others, in blocks that differ in nothing but what a loop goes over.

    What is replaced ran for all that the release's loop goes over.
    """
    loose = [[_loosened(each) for each in pair] for pair in (upstream, here)]
    put, taken = (Counter(blocks for _, blocks in each.elements()) for each in here)
    return loose[0] == loose[1] and put == taken


def _loosened(placed: Blocks) -> Blocks:
    found: Blocks = Counter()
    for (code, blocks), count in placed.items():
        heads = (_LOOP.match(head) for head in blocks)
        found[code, tuple(loop[1] if loop else head for loop, head in zip(heads, blocks, strict=True))] += count
    return found


def _there_already(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Statements that the change puts in and that the release has of itself.

    What both sides changed, and was merged line by line, is one statement. What no call runs together is no repetition.
    """
    inserted = _codes(theirs) - _codes(base)
    there = _codes(merged)
    own = (_codes(ours) - _codes(base)) & there
    blended = there - _codes(theirs) - _codes(ours)
    text = merging.text_of(merged)
    found = []
    for code in inserted:
        if code.endswith(TRIVIAL) or code.startswith(TRIVIAL):
            continue
        if own[code]:
            if not (never_together(text, [code], [code]) or repeating.sets_the_same_again(code, merged)):
                found.append(f"the release has `{short(code)}` there already")
            continue
        for name in assigned(code):
            places = [code] if there[code] else [each for each in blended if name in assigned(each)]
            rivals = [each for each in own if name in assigned(each)]
            if rivals and not never_together(text, places, rivals):
                found.append(f"the release sets {name} in code of its own, and the change sets it as well")
                break
    return found


def _other_values(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names, and attributes, that the change reads and that the release computes in another way.

    Where the same statement of the same block sets a name right before all that newly reads it, no other counts; nor
    where what reads it is the copy of a statement that both sides keep.
    """
    inserted, deleted = _codes(theirs) - _codes(base), _codes(base) - _codes(theirs)
    used, before_it = ({name for code in row for name in read(code) | read_dotted(code)} for row in (inserted, deleted))
    kept = _codes(base) & _codes(ours)
    found = []
    for name in sorted(used - before_it):
        before = Counter(bare(unit.code) for unit in base if name in assigned(unit.code))
        now = Counter(bare(unit.code) for unit in ours if name in assigned(unit.code))
        readers = [code for code in inserted if name in read(code) | read_dotted(code)]
        others = [code for code in readers if not (kept[code] and _is_copy(name, code, theirs, merged))]
        if before != now and others and not reaching.set_alike(name, readers, theirs, merged):
            found.append(f"the change reads {name}, which the release computes in another way")
    return found


def _is_copy(name: str, code: str, theirs: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether a statement reads a name as its other occurrence does, on both sides."""
    return all(repeating.reads_the_same_again(name, code, row) for row in (theirs, merged))


def _other_order(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names that a statement reads, and that are set before it on its own side and not before it in the merge.

    What upstream itself no longer sets before the same statement is upstream's own doing. A parameter has a value
    before every statement: whether that is the one that upstream's statement reads is asked where values are.
    """
    found = []
    old, new = _rows_by_statement(base), _rows_by_statement(theirs)
    parameters = reaching.parameters_of(merged)
    known = [(_set_before(side), side) for side in (ours, theirs)]
    for unit, before in zip(merged, _set_before(merged), strict=True):
        for rows, side in known:
            at = next((index for index, each in enumerate(side) if each.key == unit.key), None)
            if at is not None:
                dropped = old.get(unit.key, set()) - new.get(unit.key, old.get(unit.key, set()))
                dropped |= parameters & (rows[at] if side is theirs else _dropped_before_call(unit, base, theirs))
                for name in sorted((read(unit.code) & rows[at]) - before - dropped):
                    found.append(f"`{short(unit.code)}` reads {name}, which the merge does not set before")
                break
    return found


def _dropped_before_call(unit: Unit, base: Sequence[Unit], theirs: Sequence[Unit]) -> set[str]:
    """The names that upstream no longer sets before its own form of a call, which the release makes with others."""
    name = _called(unit.code)
    found = [
        [names for each, names in zip(row, _set_before(row), strict=True) if name and _called(each.code) == name]
        for row in (base, theirs)
    ]
    if len(found[0]) != len(found[1]):
        return set()
    return {name for before, after in zip(*found, strict=True) for name in before - after}


def _called(code: str) -> str:
    """What a statement calls and what it sets from that, without the arguments; empty where it is no call alone."""
    tree = statement(code)
    node = tree.body[0] if isinstance(tree, ast.Module) and tree.body else None
    value = getattr(node, "value", None) if isinstance(node, (ast.Assign, ast.Expr, ast.Return)) else None
    if not isinstance(value, ast.Call) or not dotted(value.func):
        return ""
    return f"{sorted(assigned(code))} {dotted(value.func)}"


def _rows_by_statement(row: Sequence[Unit]) -> dict[tuple[int, str], set[str]]:
    """For each statement that stands in a row once, the names that those before it set."""
    once = Counter(unit.key for unit in row)
    return {unit.key: names for unit, names in zip(row, _set_before(row), strict=True) if once[unit.key] == 1}


def _set_before(row: Sequence[Unit]) -> list[set[str]]:
    """For each unit the names that those before it set."""
    found: list[set[str]] = []
    known: set[str] = set()
    for unit in row:
        found.append(set(known))
        known |= assigned(unit.code)
    return found
