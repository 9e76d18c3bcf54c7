"""What makes a merge doubtful that looks right: each doubt is a sentence, and any of them asks for a review."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from ascend_patches.carrying import call_fit, merging, new_modules, overriding, reaching, users_fit
from ascend_patches.carrying.inventory import FunctionNode, inventory, parsed
from ascend_patches.carrying.merging import Merged, Unit
from ascend_patches.carrying.other_meanings import other_meanings
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.statement_text import assigned, read, read_dotted
from ascend_patches.carrying.usage import usage
from ascend_patches.carrying.using import readers

_VERSION_QUESTIONS = ("if vllm_version_is(", "if not vllm_version_is(", "elif vllm_version_is(")
_TELLING = 20
"""As long as a statement has to be before it is known again in another function."""
_TRIVIAL = ("pass", "return", "continue", "break", "else:", "try:", "(docstring)")


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
    doubts += _there_already(base, theirs, ours)
    doubts += _other_values(base, theirs, ours, merged.units)
    doubts += _other_order(base, theirs, ours, merged.units)
    return list(dict.fromkeys(doubts))


def doubt(result: Result, sides: dict[int, Sides], release: Code, carried: Code, upstream: Code | None) -> None:
    """Add to each carried definition what its surroundings make doubtful."""
    touched = {definition.target for definition in result.definitions}
    for definition in result.carried:
        if definition.kind == "module" and upstream is not None:
            definition.doubts += _of_module(definition, release, carried, upstream, touched)
        pair = sides.get(id(definition))
        if pair is None:
            continue
        if definition.kind == "function":
            unfit, notes = users_fit.misfits(definition, pair, carried, touched)
            definition.doubts += unfit
            result.callers += notes
            _dropped_attributes(definition, pair, carried)
            if definition.verdict == "added":
                _hides(definition, pair, release)
        if definition.kind == "function":
            _elsewhere_already(definition, pair)
            _for_other_versions(definition, pair, release)
        if upstream is not None and definition.kind in ("function", "attribute"):
            _uncovered(definition, release, upstream)
        if upstream is not None:
            definition.doubts += other_meanings(definition, pair, release, upstream, touched)
        if definition.verdict == "added" and definition.kind in ("function", "class"):
            _unused(definition, carried)
            if upstream is not None:
                definition.doubts += _overriding(definition, pair, carried, upstream, touched)
    _pointless(result)


def _of_module(
    definition: Definition, release: Code, carried: Code, upstream: Code, touched: set[str]
) -> Iterator[str]:
    """What the functions and classes of a new module use, and what was another thing where the change was made."""
    here, there = (each.over({definition.file: definition.text}) for each in (release, upstream))
    text = inventory(definition.text)
    for one, item in new_modules.parts(definition):
        pair = Sides(None, item, None, inventory(""), text, inventory(""), definition.file)
        yield from other_meanings(one, pair, here, there, {*touched, one.target})
        if item.kind == "class":
            yield from _overriding(one, pair, here, there, touched)


def _overriding(definition: Definition, pair: Sides, here: Code, upstream: Code, touched: set[str]) -> Iterator[str]:
    """What an added class, or an added method, overrides."""
    if definition.kind == "class":
        place = here.class_at(definition.module, definition.path)
        if place is not None:
            yield from overriding.of_class(place, here, upstream, touched)
    elif definition.scope:
        place = here.class_at(definition.module, definition.scope)
        if place is not None and isinstance(pair.new.node, FunctionNode):
            yield from overriding.of_method(place, definition.path.rpartition(".")[2], here, upstream, touched)


def _other_difference(
    upstream: tuple[Counter[str], Counter[str]], here: tuple[Counter[str], Counter[str]]
) -> list[str]:
    found = []
    for code in (upstream[0] - here[0]).elements():
        found.append(f"upstream takes away or moves `{_short(code)}`, which the release does not have like that")
    for code in (upstream[1] - here[1]).elements():
        found.append(f"upstream puts in `{_short(code)}`, and the merge does not")
    for code in ((here[0] - upstream[0]) + (here[1] - upstream[1])).elements():
        found.append(f"the merge changes `{_short(code)}`, which upstream's change does not")
    return found or ["the merge is not upstream's own difference"]


def _other_blocks(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Statements that the change puts into, or takes out of, a block that the release enters on another condition."""
    found = []
    for upstream, here in (
        (merging.placed(base, theirs), merging.placed(ours, merged)),
        (merging.placed(theirs, base), merging.placed(merged, ours)),
    ):
        for code, blocks in (here - upstream).elements():
            around = blocks[-1] if blocks else "no condition"
            found.append(f"`{_short(code)}` is in another block on the release: {_short(around)}")
    return found


def _there_already(base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit]) -> list[str]:
    """Statements that the change puts in and that the release has of itself."""
    inserted = Counter(unit.code for unit in theirs) - Counter(unit.code for unit in base)
    own = Counter(unit.code for unit in ours) - Counter(unit.code for unit in base)
    own_targets = {name for code in own for name in assigned(code)}
    found = []
    for code in inserted:
        if code.endswith(_TRIVIAL) or code.startswith(_TRIVIAL):
            continue
        if own[code]:
            found.append(f"the release has `{_short(code)}` there already")
            continue
        shared = [name for name in assigned(code) if name in own_targets]
        if shared:
            found.append(f"the release sets {shared[0]} in code of its own, and the change sets it as well")
    return found


def _other_values(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names, and attributes, that the change reads and that the release computes in another way.

    Where the same statement of the same block sets a name right before all that newly reads it, no other counts.
    """
    inserted = Counter(unit.code for unit in theirs) - Counter(unit.code for unit in base)
    deleted = Counter(unit.code for unit in base) - Counter(unit.code for unit in theirs)
    used, before_it = ({name for code in row for name in read(code) | read_dotted(code)} for row in (inserted, deleted))
    found = []
    for name in sorted(used - before_it):
        before = Counter(unit.code for unit in base if name in assigned(unit.code))
        now = Counter(unit.code for unit in ours if name in assigned(unit.code))
        if before != now and not reaching.set_alike(
            name, [code for code in inserted if name in read(code) | read_dotted(code)], theirs, merged
        ):
            found.append(f"the change reads {name}, which the release computes in another way")
    return found


def _other_order(
    base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit], merged: Sequence[Unit]
) -> list[str]:
    """Local names that a statement reads, and that are set before it on its own side and not before it in the merge.

    What upstream itself no longer sets before the same statement is upstream's own doing.
    """
    found = []
    old, new = _rows_by_statement(base), _rows_by_statement(theirs)
    known = [(_set_before(side), side) for side in (ours, theirs)]
    for unit, before in zip(merged, _set_before(merged), strict=True):
        for rows, side in known:
            at = next((index for index, each in enumerate(side) if each.key == unit.key), None)
            if at is not None:
                dropped = old.get(unit.key, set()) - new.get(unit.key, old.get(unit.key, set()))
                for name in sorted((read(unit.code) & rows[at]) - before - dropped):
                    found.append(f"`{_short(unit.code)}` reads {name}, which the merge does not set before")
                break
    return found


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
        known |= assigned(unit.code) if unit.code != merging.BY_LINES else _assigned_in_lines(unit.lines)
    return found


def _elsewhere_already(definition: Definition, pair: Sides) -> None:
    """Statements that the change puts in, and that the release has in other functions of the file."""
    if pair.old is None or pair.release is None:
        return
    base, theirs, ours = (
        merging.units(each.node, side.lines)
        for each, side in ((pair.old, pair.before), (pair.new, pair.after), (pair.release, pair.there))
    )
    inserted = Counter(unit.code for unit in theirs) - Counter(unit.code for unit in base)
    more = merging.statements_of(pair.there) - merging.statements_of(pair.before)
    own = Counter(unit.code for unit in ours)
    telling = [code for code in inserted if len(code) >= _TELLING and not code.startswith(_TRIVIAL)]
    if telling and all(more[code] and not own[code] for code in telling):
        definition.doubts.append(f"the release has `{_short(telling[0])}` in another function of the file already")


def _for_other_versions(definition: Definition, pair: Sides, release: Code) -> None:
    """A change of which all runs with other releases of vLLM only does nothing on this one."""
    version = (release.versions.get("vllm") or "").partition("+")[0]
    if pair.old is None or not version:
        return
    base, theirs = merging.units(pair.old.node, pair.before.lines), merging.units(pair.new.node, pair.after.lines)
    put_in = [place for place in merging.placed(base, theirs) if not place[0].startswith(_VERSION_QUESTIONS)]
    if put_in and all(any(_never(head, version) for head in blocks) for _, blocks in put_in):
        definition.doubts.append(f"all that it changes is for other releases of vLLM than {version}")


def _never(head: str, version: str) -> bool:
    """Whether the block of a head is for other releases of vLLM than the one that is here."""
    asked = re.fullmatch(r"(?:el)?if (not )?(?:\w+\.)?vllm_version_is\(['\"]([^'\"]+)['\"]\):( else)?", head.strip())
    if asked is None:
        return False
    holds = (asked[2] == version) != bool(asked[1])
    return holds if asked[3] else not holds


def _uncovered(definition: Definition, release: Code, upstream: Code) -> None:
    """Classes that have their own on the release, which the change does not reach, and had not where it was made."""
    name = definition.path.rpartition(".")[2]
    place = release.class_at(definition.module, definition.scope) if definition.scope else None
    for each in release.subclasses(place) if place is not None and not name.startswith("__") else ():
        there = upstream.class_at(each.module, each.path)
        own = release.members(each).get(name, [])
        if not own or (there is not None and name in upstream.members(there)):
            continue
        if each.module.partition(".")[0] != definition.module.partition(".")[0]:
            continue  # its code is not in upstream's tree
        if not any(
            isinstance(node, ast.Call) and call_fit.is_super(node, name) for one in own for node in ast.walk(one)
        ):
            definition.doubts.append(
                f"{each.target} has a {name} of its own, which it had not where the change was made"
            )


def _dropped_attributes(definition: Definition, pair: Sides, carried: Code) -> None:
    """Attributes that the release's code set, the carried code does not, and others still read."""
    if pair.release is None or not definition.scope:
        return
    after = parsed(definition.text)
    dropped = usage(pair.release.node, True).stores - (usage(after, True).stores if after is not None else set())
    place = carried.class_at(definition.module, definition.scope) if dropped else None
    for name in sorted(dropped):
        if place is None or any(name in carried.members(each) for each in carried.lineage(place)[0]):
            continue
        reader = next(readers(carried, place, name), None)
        if reader is not None:
            definition.doubts.append(f"it no longer sets {name}, which {reader} still reads")


def _hides(definition: Definition, pair: Sides, release: Code) -> None:
    """An added method may override, or be overridden by, one that upstream did not have."""
    if not definition.scope:
        return
    name = definition.path.rpartition(".")[2]
    place = release.class_at(definition.module, definition.scope)
    node = pair.new.node
    if place is None or not isinstance(node, FunctionNode):
        return
    # What it overrides is the nearest one; the others are overridden already.
    above = next((owner for owner in release.lineage(place)[0][1:] if name in release.members(owner)), None)
    for owner in (above,) if above is not None else ():
        for member in release.members(owner).get(name, []):
            if isinstance(member, FunctionNode) and call_fit.parameters(member) != call_fit.parameters(node):
                definition.doubts.append(
                    f"it overrides {owner.target}.{name}, which has other parameters on the release"
                )
    for each in release.subclasses(place):
        if name in release.members(each):
            definition.doubts.append(f"{each.target} has a {name} of its own already")


def _unused(definition: Definition, carried: Code) -> None:
    """An addition that nothing on the release uses does nothing there."""
    name = definition.path.rpartition(".")[2]
    for path in carried.with_word(name):
        module = carried.module_at(path)
        if module is None:
            continue
        for node in ast.walk(module.inventory.tree):
            if (isinstance(node, ast.Name) and node.id == name) or (
                isinstance(node, ast.Attribute) and node.attr == name
            ):
                return
            if isinstance(node, ast.Constant) and node.value == name:
                return
    if definition.scope:
        place = carried.class_at(definition.module, definition.scope)
        if place is not None and any(name in carried.members(each) for each in carried.lineage(place)[0][1:]):
            return
    definition.doubts.append(f"nothing on the release uses {definition.path}")


def _pointless(result: Result) -> None:
    if all(definition.kind == "import" for definition in result.carried):
        for definition in result.carried:
            definition.doubts.append("only imports are left of the change")


def _short(code: str) -> str:
    line = code.strip().partition("\n")[0]
    return line if len(line) <= 90 else f"{line[:87]}..."


def _assigned_in_lines(lines: Sequence[str]) -> set[str]:
    """What lines that are no whole statements set, at their beginnings."""
    heads = [line.partition("=")[0] for line in lines if re.match(r"[\w\s.,()]+(:[^=]+)?=(?!=)", line)]
    return {name for head in heads for name in re.findall(r"[A-Za-z_][\w.]*", head.partition(":")[0])}
