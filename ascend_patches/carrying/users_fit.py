"""Whether code that a change does not touch still fits a function whose parameters, results or nature change."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_patches.carrying import call_fit
from ascend_patches.carrying.inventory import FunctionNode, parsed
from ascend_patches.carrying.release_code import ClassPlace, Code
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.sides import Sides
from ascend_patches.carrying.usage import Called
from ascend_patches.carrying.using import FunctionDef, callers, readers, references


def misfits(definition: Definition, pair: Sides, carried: Code, touched: set[str]) -> tuple[list[str], list[str]]:
    """What no longer fits, as doubts, and callers that do and that the change does not touch, as notes."""
    before = pair.release.node if pair.release is not None else None
    after = parsed(definition.text)
    if not isinstance(before, FunctionNode) or not isinstance(after, FunctionNode):
        return [], []
    change = _Change(definition, before, after, carried, touched)
    doubts = [*change.by_nature(), *change.by_parameters(), *change.by_results(), *change.in_family()]
    return list(dict.fromkeys(doubts)), list(dict.fromkeys(change.notes))


class _Change:
    """A function before and after, and what uses it on the release."""

    def __init__(
        self, definition: Definition, before: FunctionDef, after: FunctionDef, carried: Code, touched: set[str]
    ) -> None:
        self.definition = definition
        self.before = before
        self.after = after
        self.carried = carried
        self.touched = touched
        self.notes: list[str] = []
        self.name = definition.path.rpartition(".")[2]
        self.other_parameters = call_fit.parameters(before) != call_fit.parameters(after)
        self.counts = call_fit.returned(before) - {0}, call_fit.returned(after) - {0}
        place = carried.class_at(definition.module, definition.scope) if definition.scope else None
        self.place: ClassPlace | None = place

    def by_nature(self) -> Iterator[str]:
        """A function that becomes a generator, a coroutine, a property, a static method, or stops to be one."""
        natures = call_fit.nature(self.before), call_fit.nature(self.after)
        if natures[0] == natures[1]:
            return
        users = dict.fromkeys(target for target, _ in callers(self.carried, self.definition))
        if self.place is not None:
            users |= dict.fromkeys(readers(self.carried, self.place, self.name))
        for target in users:
            if target not in self.touched:
                yield f"{target} uses {self.definition.path} as {natures[0]}, and it is now {natures[1]}"

    def by_parameters(self) -> Iterator[str]:
        if not self.other_parameters:
            return
        bound = bool(self.definition.scope) and not call_fit.is_static(self.after)
        for target, call in callers(self.carried, self.definition):
            why = call_fit.refusal(self.after, call, bound)
            if why and not call_fit.refusal(self.before, call, bound):
                yield f"{target} calls it, and it now {why}"
            elif target not in self.touched and (swapped := call_fit.other_place(self.before, self.after, call, bound)):
                yield f"{target} calls it, and what it gives as {swapped[0]} is now {swapped[1]}"
            elif target not in self.touched:
                self.notes.append(f"{target} calls {self.definition.target}, whose parameters change")
        for target in references(self.carried, self.definition):
            if target not in self.touched:
                yield f"{target} passes {self.definition.path} on, and its parameters change"

    def by_results(self) -> Iterator[str]:
        old, new = self.counts
        if not new or old == new:
            return
        for target, call in callers(self.carried, self.definition):
            if call.unpacked is not None:
                if 1 not in new and call.unpacked not in new:
                    yield f"{target} takes {call.unpacked} values from it, and it now returns {sorted(new)}"
            elif not call.alone and target not in self.touched:
                yield f"{target} takes what it returns, which was {_values(old)} and is now {_values(new)}"

    def in_family(self) -> Iterator[str]:
        """Methods that override it, or that it overrides, and that keep to what was."""
        if self.place is None or self.name in ("__init__", "__new__"):
            return
        old, new = self.counts
        for owner, override in self._overrides():
            if self.other_parameters:
                yield f"the override {owner.target}.{self.name} keeps the old parameters"
            elif new and old != new and (call_fit.returned(override) - {0}) - new:
                yield f"the override {owner.target}.{self.name} keeps the old results"
        for owner in self.carried.lineage(self.place)[0][1:]:
            for member in self.carried.members(owner).get(self.name, []):
                above = f"{owner.target}.{self.name}"
                if not isinstance(member, FunctionNode) or above in self.touched or not self.other_parameters:
                    continue
                if any(
                    call_fit.refusal(self.after, call, False) and not call_fit.refusal(self.before, call, False)
                    for call in _calls_of(member)
                ):
                    yield f"it overrides {above}, which has other parameters on the release"

    def _overrides(self) -> Iterator[tuple[ClassPlace, FunctionDef]]:
        for each in self.carried.subclasses(self.place) if self.place is not None else ():
            for member in self.carried.members(each).get(self.name, []):
                if isinstance(member, FunctionNode) and f"{each.target}.{self.name}" not in self.touched:
                    yield each, member


def _calls_of(above: FunctionDef) -> list[Called]:
    """Calls that those who know only the function above in the family may make."""
    arguments = above.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    keywords = tuple(each.arg for each in arguments.kwonlyargs)
    least = len(names) - len(arguments.defaults)
    by_name = Called("", 1, tuple(sorted({*names[1:], *keywords})), False)
    return [*(Called("", count, keywords, False) for count in (least, len(names))), by_name]


def _values(counts: set[int]) -> str:
    if not counts:
        return "nothing"
    return " or ".join("one value" if each == 1 else f"{each} values" for each in sorted(counts))
