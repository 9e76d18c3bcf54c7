"""A three-way merge of one definition, statement by statement.

A definition is a row of units: the head of each compound statement, and each simple statement, with the lines that it
is written on and the comments above it. Units are compared as code, so that layout and comments neither hide a change
nor make one. The merged text is made of the units' own lines, untouched.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ascend_patches.carrying.inventory import Inventory, parsed

BY_LINES = "(merged by lines)"
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


@dataclass(frozen=True)
class Unit:
    """One statement, or the head of one that holds others, at some depth of blocks."""

    code: str
    depth: int
    lines: tuple[str, ...]
    owner: str = ""

    @property
    def key(self) -> tuple[int, str]:
        return self.depth, self.code


class Conflict(NamedTuple):
    """A place that both sides changed, each side's lines as they are."""

    base: str
    theirs: str
    release: str


class Merged(NamedTuple):
    """The merged units, and the places where there is none."""

    units: tuple[Unit, ...]
    conflicts: tuple[Conflict, ...]
    beside: bool = False
    """Whether the sides changed statements that stand next to each other."""

    @property
    def text(self) -> str:
        return text_of(self.units)

    @property
    def by_lines(self) -> bool:
        """Whether a part was merged line by line, inside a statement that both sides changed."""
        return any(unit.code == BY_LINES for unit in self.units)


def text_of(units: Sequence[Unit]) -> str:
    """The units' own lines."""
    return "\n".join(line for unit in units for line in unit.lines)


def units(node: ast.stmt, lines: Sequence[str]) -> tuple[Unit, ...]:
    """The units of a definition; ``lines`` are those of the whole text."""
    marks = [_whole_head(mark, lines) for mark in _marks([node], 0, "")]
    starts = [mark.line for mark in marks]
    last = node.end_lineno or node.lineno
    if any(later <= earlier for earlier, later in pairwise(starts)):
        # Two statements on one line have no lines of their own.
        whole = tuple(lines[starts[0] - 1 : last])
        return (Unit(ast.unparse(node), 0, whole),)
    begins = [starts[0]]
    for previous, mark in pairwise(marks):
        begins.append(_with_comments(lines, mark.line, max(previous.line, previous.end)))
    ends = [*(begin - 1 for begin in begins[1:]), last]
    return tuple(
        Unit(mark.code, mark.depth, tuple(lines[begin - 1 : end]), mark.owner)
        for mark, begin, end in zip(marks, begins, ends, strict=True)
    )


def units_of(text: str) -> tuple[Unit, ...]:
    """The units of one definition with its own indentation; none where it is no Python."""
    node = parsed(text)
    around = ["if True:"] if text[:1].isspace() else []
    return units(node, [*around, *text.split("\n")]) if node is not None else ()


def merge(base: Sequence[Unit], theirs: Sequence[Unit], release: Sequence[Unit]) -> Merged:
    """The release's units with the change from base to theirs; where both changed the same place, a conflict."""
    merged: list[Unit] = []
    conflicts: list[Conflict] = []
    meet = False
    for chunk in _chunks(base, theirs, release):
        if chunk.stable or _keys(chunk.theirs) == _keys(chunk.base) or _keys(chunk.theirs) == _keys(chunk.release):
            merged += chunk.release
        elif _keys(chunk.release) == _keys(chunk.base):
            merged += chunk.theirs
        elif (lines := _merged_lines(chunk)) is not None:
            merged.append(lines)
        elif (beside := _beside_each_other(chunk)) is not None:
            merged += beside
            meet = True
        else:
            conflicts.append(Conflict(*(text_of(side) for side in (chunk.base, chunk.theirs, chunk.release))))
            merged += chunk.release
    return Merged(tuple(merged), tuple(conflicts), meet)


def difference(before: Sequence[Unit], after: Sequence[Unit]) -> tuple[Counter[str], Counter[str]]:
    """What was taken out and what was put in, wherever it stood: code that only moved counts on neither side."""
    old, new = Counter(unit.code for unit in before), Counter(unit.code for unit in after)
    return old - new, new - old


def same_difference(first: tuple[Counter[str], Counter[str]], second: tuple[Counter[str], Counter[str]]) -> bool:
    """Whether two differences take out and put in the same code."""
    return first[0] == second[0] and first[1] == second[1]


def changed_places(before: Sequence[Unit], after: Sequence[Unit]) -> list[tuple[tuple[Unit, ...], tuple[Unit, ...]]]:
    """The stretches of two rows that differ, old beside new."""
    matcher = SequenceMatcher(None, _keys(before), _keys(after), autojunk=False)
    return [
        (tuple(before[i1:i2]), tuple(after[j1:j2])) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"
    ]


def placed(before: Sequence[Unit], after: Sequence[Unit]) -> Counter[tuple[str, tuple[str, ...]]]:
    """What was put in, each with the heads of the blocks that it is in, outermost first."""
    old, new = in_blocks(before), in_blocks(after)
    matcher = SequenceMatcher(None, _keys(before), _keys(after), autojunk=False)
    return Counter(each for tag, _, _, j1, j2 in matcher.get_opcodes() if tag != "equal" for each in new[j1:j2]) - (
        Counter(each for tag, i1, i2, _, _ in matcher.get_opcodes() if tag != "equal" for each in old[i1:i2])
    )


def same_words(base: Sequence[Unit], theirs: Sequence[Unit], release: Sequence[Unit], merged: Sequence[Unit]) -> bool:
    """Whether two differences take out and put in the same words of code; layout and comments do not count."""
    rows = [words(text_of(side)) for side in (base, theirs, release, merged)]
    if None in rows:
        return False
    old, new, here, carried = (row for row in rows if row is not None)
    return old - new == here - carried and new - old == carried - here


def words(text: str) -> Counter[str] | None:
    """The tokens of a definition, without layout and comments; None where it is no Python."""
    found: Counter[str] = Counter()
    previous = ""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    try:
        for token in tokenize.generate_tokens(io.StringIO(f"if True:\n{text}" if text[:1] == " " else text).readline):
            if token.type in layout:
                continue
            if token.string in ")]}" and previous == ",":
                found[","] -= 1
            found[token.string] += 1
            previous = token.string
    except (tokenize.TokenError, SyntaxError):
        return None
    return +found


@lru_cache(maxsize=256)
def statements_of(text: Inventory) -> Counter[str]:
    """The code of every statement in the functions of a text."""
    found: Counter[str] = Counter()
    for items in text.items.values():
        for item in items:
            if item.kind == "function":
                found.update(unit.code for unit in units(item.node, text.lines))
    return found


def in_blocks(row: Sequence[Unit]) -> list[tuple[str, tuple[str, ...]]]:
    """Each unit's code with the heads of the blocks that it is in; the definition's own head does not count."""
    heads: dict[int, str] = {}
    found = []
    for unit in row:
        word = unit.code.partition(": ")[0]
        if word in ("else", "finally"):
            heads[unit.depth] = f"{heads.get(unit.depth, '')} {word}"
        found.append((unit.code, tuple(heads.get(depth, "") for depth in range(2, unit.depth + 1))))
        heads[unit.depth + 1] = unit.code
    return found


class _Chunk(NamedTuple):
    stable: bool
    base: Sequence[Unit]
    theirs: Sequence[Unit]
    release: Sequence[Unit]
    between: tuple[bool, bool] = (True, True)
    """Whether there is something on both sides of it that is the same in all three."""


class _Mark(NamedTuple):
    code: str
    depth: int
    line: int
    end: int
    owner: str


def _whole_head(mark: _Mark, lines: Sequence[str]) -> _Mark:
    """A mark whose end is the line of the colon, where a head closes its brackets on lines of their own."""
    if not mark.code.endswith(":") or mark.code.startswith("@"):
        return mark
    for number in range(max(mark.line, mark.end), min(len(lines), mark.end + 8) + 1):
        if lines[number - 1].partition("  #")[0].rstrip().endswith(":"):
            return mark._replace(end=number)
    return mark


def _keys(row: Sequence[Unit]) -> list[tuple[int, str]]:
    return [unit.key for unit in row]


def _chunks(base: Sequence[Unit], theirs: Sequence[Unit], release: Sequence[Unit]) -> Iterator[_Chunk]:
    """Stretches that are the same on all three sides, and what lies between them."""
    in_theirs = _matches(base, theirs)
    in_release = _matches(base, release)
    at_base = at_theirs = at_release = 0
    while True:
        length = 0
        while (
            at_base + length < len(base)
            and in_theirs.get(at_base + length) == at_theirs + length
            and in_release.get(at_base + length) == at_release + length
        ):
            length += 1
        if length:
            yield _Chunk(
                True,
                base[at_base : at_base + length],
                theirs[at_theirs : at_theirs + length],
                release[at_release : at_release + length],
            )
            at_base, at_theirs, at_release = at_base + length, at_theirs + length, at_release + length
            continue
        following = next(
            (index for index in range(at_base, len(base)) if index in in_theirs and index in in_release), None
        )
        if following is None:
            if at_base < len(base) or at_theirs < len(theirs) or at_release < len(release):
                between = (bool(at_base), False)
                yield _Chunk(False, base[at_base:], theirs[at_theirs:], release[at_release:], between)
            return
        to_theirs, to_release = in_theirs[following], in_release[following]
        sides = base[at_base:following], theirs[at_theirs:to_theirs], release[at_release:to_release]
        yield _Chunk(False, *sides, (bool(at_base), True))
        at_base, at_theirs, at_release = following, to_theirs, to_release


def _beside_each_other(chunk: _Chunk) -> list[Unit] | None:
    """A chunk in which the sides changed different statements that stand next to each other; None where they meet.

    What is only put in has to have one of its neighbours on both sides, and the other in place of which the release has
    something, or nothing says where it belongs.
    """
    mine, ours = (_edits(chunk.base, side) for side in (chunk.theirs, chunk.release))
    kept = {index for index in range(len(chunk.base)) if not any(i <= index < j for i, j, _ in ours)}
    kept |= {index for index, there in zip((-1, len(chunk.base)), chunk.between, strict=True) if there}
    gone = {index for i, j, new in ours if not new for index in range(i, j)}
    rows = [(i, j, new, False) for i, j, new in ours] + [(i, j, new, True) for i, j, new in mine]
    rows.sort(key=lambda row: row[:2])
    for (_, end, _, _), (start, _, _, _) in pairwise(rows):
        if start < end:
            return None
    if len({(i, j) for i, j, _, _ in rows if i == j}) < sum(i == j for i, j, _, _ in rows):
        return None  # both put something in at one place
    for i, j, _ in mine:
        if i == j and (not {i - 1, i} & kept or {i - 1, i} & gone):
            return None
    merged: list[Unit] = []
    at = 0
    for i, j, new, _ in rows:
        merged += [*chunk.base[at:i], *new]
        at = j
    merged += chunk.base[at:]
    of_release = {unit.key: unit for unit in chunk.release}
    merged = [of_release.get(unit.key, unit) for unit in merged]
    same = same_difference(difference(chunk.base, chunk.theirs), difference(chunk.release, merged))
    return merged if same else None


def _edits(before: Sequence[Unit], after: Sequence[Unit]) -> list[tuple[int, int, Sequence[Unit]]]:
    """What another row has in place of stretches of a row."""
    matcher = SequenceMatcher(None, _keys(before), _keys(after), autojunk=False)
    return [(i1, i2, after[j1:j2]) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"]


def _merged_lines(chunk: _Chunk) -> Unit | None:
    """A chunk that both sides changed, merged line by line, where what they changed lies apart."""
    sides = [[line for unit in side for line in unit.lines] for side in (chunk.base, chunk.theirs, chunk.release)]
    base, theirs, release = ([Unit(line.strip(), _indent(line), (line,)) for line in side] for side in sides)
    merged: list[Unit] = []
    for piece in _chunks(base, theirs, release):
        if piece.stable or _keys(piece.theirs) in (_keys(piece.base), _keys(piece.release)):
            merged += piece.release
        elif _keys(piece.release) == _keys(piece.base):
            merged += piece.theirs
        else:
            return None
    if not same_difference(difference(base, theirs), difference(release, merged)):
        return None
    lines = tuple(line for unit in merged for line in unit.lines)
    return Unit(BY_LINES, 0, lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _matches(base: Sequence[Unit], other: Sequence[Unit]) -> dict[int, int]:
    """Which unit of the other row is which of the base, in order."""
    found: dict[int, int] = {}
    for i, j, size in SequenceMatcher(None, _keys(base), _keys(other), autojunk=False).get_matching_blocks():
        found.update((i + step, j + step) for step in range(size))
    return found


def _marks(body: Sequence[ast.stmt], depth: int, owner: str) -> Iterator[_Mark]:
    """Where each unit starts, in the order of the text."""
    for index, node in enumerate(body):
        if index == 0 and owner.startswith(("def ", "async def ", "class ")) and _is_text(node):
            # A docstring is a unit that is always the same code.
            yield _Mark("(docstring)", depth, node.lineno, node.end_lineno or node.lineno, owner)
            continue
        for decorator in getattr(node, "decorator_list", []):
            yield _Mark(f"@{ast.unparse(decorator)}", depth, decorator.lineno, decorator.end_lineno or 0, owner)
        head = _head(node)
        yield _Mark(head, depth, node.lineno, _end_of_head(node), owner)
        for name in _BLOCKS:
            yield from _block(node, name, depth, head)


def _block(node: ast.stmt, name: str, depth: int, head: str) -> Iterator[_Mark]:
    inner: list[ast.AST] = getattr(node, name, None) or []
    if not inner or not isinstance(inner, list):
        return
    if name == "handlers" or name == "cases":
        for each in inner:
            line, end = _place(each)
            text = _handler(each)
            yield _Mark(text, depth, line, end, head)
            yield from _marks(each.body, depth + 1, f"{head} {text}")  # type: ignore[attr-defined]
        return
    statements = [each for each in inner if isinstance(each, ast.stmt)]
    if name == "orelse" and isinstance(node, ast.If) and len(statements) == 1 and _is_elif(node, statements[0]):
        nested = statements[0]
        assert isinstance(nested, ast.If)
        text = f"elif {ast.unparse(nested.test)}:"
        yield _Mark(text, depth, nested.lineno, nested.test.end_lineno or nested.lineno, head)
        yield from _marks(nested.body, depth + 1, text)
        yield from _block(nested, "orelse", depth, text)
        return
    # ``else:`` and ``finally:`` have no place of their own in the tree; they go with the first statement after them.
    first, *rest = list(_marks(statements, depth + 1, f"{head} {name}" if name != "body" else head))
    if name != "body":
        word = "else:" if name == "orelse" else "finally:"
        first = first._replace(code=f"{word} {first.code}", line=first.line, end=first.end)
    yield first
    yield from rest


def _head(node: ast.stmt) -> str:
    """A statement without the blocks in it."""
    blocks = [name for name in _BLOCKS if isinstance(getattr(node, name, None), list)]
    if not blocks:
        return ast.unparse(node)
    bare = type(node)(**dict(ast.iter_fields(node)))
    ast.copy_location(bare, node)
    for name in blocks:
        setattr(bare, name, [])
    if hasattr(bare, "decorator_list"):
        bare.decorator_list = []
    if "body" in blocks:
        bare.body = [ast.Pass()]  # type: ignore[attr-defined]
    if isinstance(bare, ast.Try) or type(bare).__name__ == "TryStar":
        return "try:"
    if isinstance(bare, (ast.Match,)):
        return f"match {ast.unparse(bare.subject)}:"
    return ast.unparse(bare).removesuffix("pass").rstrip()


def _end_of_head(node: ast.stmt) -> int:
    """The last line of a statement without the blocks in it."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not isinstance(body, list) or not body:
        return node.end_lineno or node.lineno
    heads = [value for name, value in ast.iter_fields(node) if name not in (*_BLOCKS, "decorator_list")]
    nodes = [each for value in heads for each in (value if isinstance(value, list) else [value])]
    inner = [part for each in nodes if isinstance(each, ast.AST) for part in ast.walk(each)]
    ends: list[int] = [getattr(part, "end_lineno", None) or 0 for part in inner]
    return max([node.lineno, *ends])


def _place(node: ast.AST) -> tuple[int, int]:
    if isinstance(node, ast.ExceptHandler):
        return node.lineno, (node.type.end_lineno if node.type is not None else None) or node.lineno
    assert isinstance(node, ast.match_case)
    return node.pattern.lineno, (node.guard or node.pattern).end_lineno or node.pattern.lineno


def _handler(node: ast.AST) -> str:
    if isinstance(node, ast.ExceptHandler):
        kind = f" {ast.unparse(node.type)}" if node.type is not None else ""
        return f"except{kind}{f' as {node.name}' if node.name else ''}:"
    assert isinstance(node, ast.match_case)
    guard = f" if {ast.unparse(node.guard)}" if node.guard is not None else ""
    return f"case {ast.unparse(node.pattern)}{guard}:"


def _is_elif(node: ast.If, nested: ast.stmt) -> bool:
    """Whether an ``if`` in an ``else`` is written as one: it starts where the outer one does."""
    return isinstance(nested, ast.If) and nested.col_offset == node.col_offset


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _with_comments(lines: Sequence[str], line: int, previous_end: int) -> int:
    """The first line of what belongs to a statement: blank lines, comments and bare keywords above it."""
    return previous_end + 1 if previous_end < line else line
