"""What makes a merge doubtful that looks right: each doubt is a sentence, and any of them asks for a review."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from ascend_patches.carrying import call_fit, merging
from ascend_patches.carrying.inventory import FunctionNode, inventory, parsed
from ascend_patches.carrying.merging import Merged, Unit
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.usage import dotted, usage
from ascend_patches.carrying.using import called_functions, callers, readers
from ascend_patches.upstream import fingerprints

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
    doubts += _other_values(base, theirs, ours)
    return list(dict.fromkeys(doubts))


def doubt(result: Result, sides: dict[int, Sides], release: Code, carried: Code) -> None:
    """Add to each carried definition what its surroundings make doubtful."""
    touched = {definition.target for definition in result.definitions}
    for definition in result.carried:
        pair = sides.get(id(definition))
        if pair is None:
            continue
        if definition.kind == "function":
            _other_callees(definition, pair, result, release, touched)
            _changed_signature(definition, pair, carried, touched, result)
            _dropped_attributes(definition, pair, carried)
            if definition.verdict == "added":
                _hides(definition, pair, release)
        if definition.verdict == "added" and definition.kind in ("function", "class"):
            _unused(definition, carried)
    _pointless(result)


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
    own_targets = {name for code in own for name in _assigned(code)}
    found = []
    for code in inserted:
        if code.endswith(_TRIVIAL) or code.startswith(_TRIVIAL):
            continue
        if own[code]:
            found.append(f"the release has `{_short(code)}` there already")
            continue
        shared = [name for name in _assigned(code) if name in own_targets]
        if shared:
            found.append(f"the release sets {shared[0]} in code of its own, and the change sets it as well")
    return found


def _other_values(base: Sequence[Unit], theirs: Sequence[Unit], ours: Sequence[Unit]) -> list[str]:
    """Local names that the change reads and that the release computes in another way."""
    inserted = Counter(unit.code for unit in theirs) - Counter(unit.code for unit in base)
    deleted = Counter(unit.code for unit in base) - Counter(unit.code for unit in theirs)
    read = {name for code in inserted for name in _read(code)} - {name for code in deleted for name in _read(code)}
    found = []
    for name in sorted(read):
        before = Counter(unit.code for unit in base if name in _assigned(unit.code))
        now = Counter(unit.code for unit in ours if name in _assigned(unit.code))
        if before != now:
            found.append(f"the change reads {name}, which the release computes in another way")
    return found


def _other_callees(definition: Definition, pair: Sides, result: Result, release: Code, touched: set[str]) -> None:
    """Functions that the change newly calls, and that were other functions where the change was made."""
    node = parsed(definition.text)
    if result.change.base is None or node is None:
        return
    in_class = bool(definition.scope)
    # What was called before as well fits by its parameters, or is refused for them.
    before = [usage(each.node, in_class).calls for each in (pair.old, pair.release) if each is not None]
    known = {call.callee for calls in before for call in calls}
    new = [call for call in usage(node, in_class).calls if call.callee not in known]
    for target, path, function in called_functions(release, definition.module, definition.scope, new):
        if target in touched:
            continue
        text = result.change.base(path)
        try:
            there = inventory(text).one(target.partition(":")[2]) if text is not None else None
        except (SyntaxError, ValueError):
            there = None
        if there is not None and there.code != fingerprints.of_node(function):
            definition.doubts.append(f"it calls {target}, which was another function where the change was made")


def _changed_signature(definition: Definition, pair: Sides, carried: Code, touched: set[str], result: Result) -> None:
    """Callers of a function whose parameters or results change, as far as the change does not touch them."""
    if pair.release is None:
        return
    before, after = pair.release.node, parsed(definition.text)
    if not isinstance(before, FunctionNode) or not isinstance(after, FunctionNode):
        return
    other_parameters = call_fit.parameters(before) != call_fit.parameters(after)
    other_results = call_fit.returned(before) != call_fit.returned(after)
    if not other_parameters and not other_results:
        return
    name = definition.path.rpartition(".")[2]
    bound = bool(definition.scope) and not call_fit.is_static(after)
    given = call_fit.returned(after)
    for target, call in callers(carried, definition):
        if other_parameters:
            why = call_fit.refusal(after, call, bound)
            if why and not call_fit.refusal(before, call, bound):
                definition.doubts.append(f"{target} calls it, and it now {why}")
            elif target not in touched:
                result.callers.append(f"{target} calls {definition.target}, whose parameters change")
        if other_results and call.unpacked is not None and 1 not in given and call.unpacked not in given:
            definition.doubts.append(
                f"{target} takes {call.unpacked} values from it, and it now returns {sorted(given)}"
            )
    if other_parameters and definition.scope and name != "__init__":
        place = carried.class_at(definition.module, definition.scope)
        for each in carried.subclasses(place) if place is not None else ():
            for member in carried.members(each).get(name, []):
                if isinstance(member, FunctionNode) and f"{each.target}.{name}" not in touched:
                    definition.doubts.append(f"the override {each.target}.{name} keeps the old parameters")


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
    for owner in release.lineage(place)[0][1:]:
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


def _assigned(code: str) -> set[str]:
    """The names and attributes that a statement sets."""
    tree = _statement(code)
    found: set[str] = set()
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(dotted(node) or node.attr)
    return found - {"_"}


def _read(code: str) -> set[str]:
    tree = _statement(code)
    if tree is None:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _statement(code: str) -> ast.AST | None:
    text = code.removeprefix("else: ").removeprefix("finally: ")
    text = text.replace("elif ", "if ", 1) if text.startswith("elif ") else text
    for candidate in (text, f"{text}\n    pass", f"try:\n    pass\n{text}\n    pass", f"{text}\ndef f(): pass"):
        try:
            return ast.parse(candidate)
        except SyntaxError:
            continue
    return None
