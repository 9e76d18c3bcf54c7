"""What the surroundings make doubtful that looks right: each doubt is a sentence, and any of them asks for a review."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from ascend_patches.carrying import call_fit, field_doubts, merging, new_modules, overriding, users_fit
from ascend_patches.carrying.branches import never_together
from ascend_patches.carrying.inventory import FunctionNode, Inventory, Item, inventory, parsed
from ascend_patches.carrying.merge_doubts import TRIVIAL, short
from ascend_patches.carrying.merging import Unit
from ascend_patches.carrying.other_meanings import other_meanings
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.statement_text import bare
from ascend_patches.carrying.usage import usage
from ascend_patches.carrying.using import readers

_VERSION_QUESTIONS = ("if vllm_version_is(", "if not vllm_version_is(", "elif vllm_version_is(")
_TELLING = 20
"""As long as a statement has to be before it is known again in another function."""
_TWINS = 0.5
"""How much of two functions is the same where they do one job in two forms."""


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
            definition.misfits = tuple(unfit)
            result.callers += notes
            _dropped_attributes(definition, pair, carried)
            if definition.verdict == "added":
                _hides(definition, pair, release)
        if definition.kind == "function":
            _elsewhere_already(definition, pair)
            _for_other_versions(definition, pair, release)
        if upstream is not None and definition.kind in ("function", "attribute"):
            _uncovered(definition, release, upstream)
        if definition.is_field:
            definition.doubts += _seen_fields(definition, release, upstream)
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
    telling = [code for code in inserted if len(code) >= _TELLING and not code.startswith(TRIVIAL)]
    if telling and all(more[code] and not own[code] for code in telling):
        holders = [row for code in telling for row in _newly_holding(code, pair)]
        if holders and all(_are_twins(ours, row) and _run_apart(pair, item) for item, row in holders):
            return  # the same job in another form: what it has says nothing about this one
        definition.doubts.append(f"the release has `{short(telling[0])}` in another function of the file already")


def _newly_holding(code: str, pair: Sides) -> Iterator[tuple[Item, tuple[Unit, ...]]]:
    """The functions of the release's file that have a statement which they had not where the change was made."""
    for path, items in pair.there.items.items():
        before = [_count(code, each, pair.before) for each in pair.before.items.get(path, [])]
        for item in items:
            if isinstance(item.node, FunctionNode) and _count(code, item, pair.there) > sum(before):
                yield item, merging.units(item.node, pair.there.lines)


def _count(code: str, item: Item, text: Inventory) -> int:
    if not isinstance(item.node, FunctionNode):
        return 0
    return sum(unit.code == code for unit in merging.units(item.node, text.lines))


def _are_twins(one: Sequence[Unit], other: Sequence[Unit]) -> bool:
    mine, theirs = ([unit.code for unit in row] for row in (one, other))
    return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() >= _TWINS


def _run_apart(pair: Sides, twin: Item) -> bool:
    """Whether neither of two functions runs the other, and none of the file runs one after the other."""
    mine, its = pair.new.name, twin.name
    for items in pair.there.items.values():
        for item in items:
            row = merging.units(item.node, pair.there.lines) if isinstance(item.node, FunctionNode) else ()
            one, other = ({bare(unit.code) for unit in row[1:] if _names(name, unit.code)} for name in (mine, its))
            if (item is twin and one) or (item.path == pair.new.path and other):
                return False
            text = merging.text_of(row)
            if one and other and not any(never_together(text, one, other, in_loops=each) for each in (True, False)):
                return False
    return mine != its


def _names(name: str, code: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", code) is not None


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


def _seen_fields(definition: Definition, release: Code, upstream: Code | None) -> Iterator[str]:
    place = release.class_at(definition.module, definition.scope)
    if place is not None:
        yield from field_doubts.doubts(definition.path.rpartition(".")[2], place, release, upstream)


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
