"""What the statements of a merged definition make doubtful, each doubt in a sentence."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence

from ascend_patches.carrying import altering, merging, reaching, repeating
from ascend_patches.carrying.branches import never_together
from ascend_patches.carrying.merging import Merged, Unit
from ascend_patches.carrying.statement_text import assigned, bare, called, form_of, read, read_dotted, statement

TRIVIAL = ("pass", "return", "continue", "break", "else:", "try:", "(docstring)")
_LOOP = re.compile(r"((?:async )?for .+?) in (.*?:)( else)?$", re.DOTALL)
_GOING_OVER = ("_", "list", "tuple", "sorted", "iter", "keys")
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
    doubts += _other_condition(base, theirs, ours)
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
    if _replaced_in_a_loop(upstream, here, merged):
        return []
    found = []
    for there, ours_of_it in zip(upstream, here, strict=True):
        for code, blocks in (ours_of_it - there).elements():
            around = blocks[-1] if blocks else "no condition"
            found.append(f"`{short(code)}` is in another block on the release: {short(around)}")
    return found


def _replaced_in_a_loop(upstream: tuple[Blocks, Blocks], here: tuple[Blocks, Blocks], row: Sequence[Unit]) -> bool:
    """Whether statements only take the place of others of their form, in blocks that differ in a loop's head alone.

    What is replaced ran for all that the release's loop goes over. That is made of the same names and numbers as
    upstream's, or the statements read nothing that a loop sets.
    """
    codes = {code for pair in here for code, _ in pair}
    varying = {
        name
        for code, blocks in merging.in_blocks(row)
        if any(map(_LOOP.match, (code, *blocks)))
        for name in assigned(code)
    }
    free = not any(varying & (read(code) | read_dotted(code)) for code in codes)
    loose = [[_loosened(each, free) for each in pair] for pair in (upstream, here)]
    put, taken = (Counter((form_of(code), blocks) for code, blocks in each.elements()) for each in here)
    return loose[0] == loose[1] and put == taken


def _loosened(placed: Blocks, free: bool) -> Blocks:
    found: Blocks = Counter()
    for (code, blocks), count in placed.items():
        heads = [(head, _LOOP.match(head)) for head in blocks]
        found[code, tuple(f"{loop[1]} {free or _made_of(loop[2])}" if loop else head for head, loop in heads)] += count
    return found


def _made_of(text: str) -> list[str]:
    """The names and the constants of an expression, in their order, without what is called to go over them."""
    found = []
    for node in ast.walk(tree) if (tree := statement(f"for _ in {text}")) is not None else ():
        if isinstance(node, (ast.Name, ast.Constant, ast.Attribute)):
            shown = node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)
            found.append((node.end_lineno, node.end_col_offset, shown))
    return [name for *_, name in sorted(found) if name not in _GOING_OVER]


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
            if not (never_together(text, [code], [code]) or repeating.sets_the_same_again(code, theirs, merged)):
                found.append(f"the release has `{short(code)}` there already")
            continue
        for name in assigned(code):
            places = [code] if there[code] else [each for each in blended if name in assigned(each)]
            rivals = [each for each in own if reaching.sets(name, each)]
            if rivals and not _are_apart(name, (base, theirs, ours), text, places, rivals):
                found.append(f"the release sets {name} in code of its own, and the change sets it as well")
                break
    return found


def _are_apart(
    name: str, rows: tuple[Sequence[Unit], ...], text: str, places: Sequence[str], rivals: Sequence[str]
) -> bool:
    """Whether two sides set a name on branches of their own, as they did before, or where nothing else sees it."""
    counts = {sum(name in assigned(unit.code) for unit in row) for row in rows}
    if "." in name and 0 in counts:
        return False  # an attribute that both sides newly have, each for a purpose of its own, outlives the call
    return never_together(text, places, rivals, in_loops=len(counts) == 1)


def _other_values(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names, and attributes, that the change reads and that the release computes in another way.

    Where the same statement of the same block sets a name right before all that newly reads it, no other counts; nor
    where what reads it is the copy of a statement that both sides keep. What that statement reads counts like the name.
    """
    inserted, deleted = _codes(theirs) - _codes(base), _codes(base) - _codes(theirs)
    used, before_it = ({name for code in row for name in read(code) | read_dotted(code)} for row in (inserted, deleted))
    kept = _codes(base) & _codes(ours)
    found = []
    for name in sorted(used - before_it):
        before, now = (Counter(bare(unit.code) for unit in row if _changes(name, unit)) for row in (base, ours))
        readers = [code for code in inserted if name in read(code) | read_dotted(code)]
        others = [code for code in readers if not (kept[code] and repeating.is_copy(name, code, theirs, merged))]
        alike = (
            reaching.set_alike(name, readers, theirs, merged)
            if before != now
            else not reaching.made_otherwise(name, readers, theirs, merged)
        )
        if others and not alike:
            found.append(f"the change reads {name}, which the release computes in another way")
    return found


def _changes(name: str, unit: Unit) -> bool:
    """Whether a statement sets a name, or an item of what it holds."""
    return reaching.sets(name, unit.code) or altering.sets_an_item(name, unit.code)


def _other_condition(base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit]) -> list[str]:
    """Statements that the change makes a copy of, and that the release runs on another condition than upstream."""
    blocks: list[dict[str, Counter[tuple[str, ...]]]] = []
    for row in (base, ours):
        found: dict[str, Counter[tuple[str, ...]]] = {}
        for code, around in merging.in_blocks(row):
            found.setdefault(bare(code), Counter())[around] += 1
        blocks.append(found)
    copies = (code for code in _codes(theirs) - _codes(base) if all(code in found for found in blocks))
    return [
        f"the change repeats `{short(code)}`, which the release runs on another condition"
        for code in copies
        if not code.startswith(TRIVIAL) and blocks[0][code] != blocks[1][code] and called(code)
    ]


def _other_order(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names that a statement reads, and that are set before it on its own side and not before it in the merge.

    What upstream itself no longer sets before the same statement is upstream's own doing. A parameter has a value
    before every statement: it is the release's own where the release has the statement in the form that upstream
    changes, or in another form of the call before which upstream no longer sets it.
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
                if side is theirs:
                    excused = _read_in_its_old_form(unit, base, theirs, ours)
                    excused |= {each for each in parameters if repeating.is_copy(each, bare(unit.code), theirs, merged)}
                else:
                    excused = _dropped_before_call(unit, base, theirs)
                for name in sorted((read(unit.code) & rows[at]) - before - dropped - (parameters & excused)):
                    found.append(f"`{short(unit.code)}` reads {name}, which the merge does not set before")
                break
    return found


def _read_in_its_old_form(unit: Unit, base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit]) -> set[str]:
    """The names that a statement read before upstream changed it, as the release still does."""
    old = (_codes(base) - _codes(theirs)) & _codes(ours)
    return {name for code in old if form_of(code) == form_of(unit.code) for name in read(code)}


def _dropped_before_call(unit: Unit, base: Sequence[Unit], theirs: Sequence[Unit]) -> set[str]:
    """The names that upstream's form of a call reads, and no longer sets before it; the release has another form."""
    name = called(unit.code)
    found = [
        [(each, names) for each, names in zip(row, _set_before(row), strict=True) if name and called(each.code) == name]
        for row in (base, theirs)
    ]
    if len(found[0]) != len(found[1]):
        return set()
    return {
        name
        for (old, before), (new, after) in zip(*found, strict=True)
        for name in (before - after) & read(old.code) & read(new.code)
    }


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
