"""What the commits of a clone changed, definition by definition, each read once for all questions about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ascend_patches.carrying import chains
from ascend_patches.carrying.chains import Step
from ascend_patches.carrying.change import Change, FileChange, kind_of
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.inventory import FunctionNode, inventory


class Altered(NamedTuple):
    """One function that a commit altered, added or took away, with its statements on both sides."""

    file: str
    path: str
    step: Step


class History:
    """The commits of a clone, as far as they were asked for."""

    def __init__(self, clone: Clone, packages: tuple[str, ...]) -> None:
        self.clone = clone
        self.packages = packages
        self._changes: dict[str, Change] = {}
        self._altered: dict[str, tuple[Altered, ...] | None] = {}
        self._steps: dict[tuple[str, str, str], Step] = {}

    def change(self, sha: str) -> Change:
        if sha not in self._changes:
            self._changes[sha] = self.clone.change(sha)
        return self._changes[sha]

    def product_files(self, sha: str) -> list[FileChange]:
        return [file for file in self.change(sha).files if kind_of(file.path, self.packages) == "product"]

    def is_native(self, sha: str) -> bool:
        """Whether a commit changes what a running Python cannot be given."""
        return any(kind_of(file.path, self.packages) == "native" for file in self.change(sha).files)

    def altered(self, sha: str) -> tuple[Altered, ...] | None:
        """The functions that a commit made other ones; None where a file of it is no Python of this interpreter."""
        if sha not in self._altered:
            try:
                self._altered[sha] = tuple(self._read_altered(sha))
            except (SyntaxError, ValueError):
                self._altered[sha] = None
        return self._altered[sha]

    def changed(self, sha: str, file: str, path: str) -> bool:
        """Whether a definition of a file is another one after a commit."""
        before, after = self.clone.text(f"{sha}^", file) or "", self.clone.text(sha, file) or ""
        # Nearly always it is not, and that shows without a parse.
        written = [_written(text, path.rpartition(".")[2]) for text in (before, after)]
        if any(written) and written[0] == written[1]:
            return False
        return _code_of(before, path) != _code_of(after, path)

    def step(self, sha: str, file: str, path: str) -> Step:
        """What a commit made of a function of a file."""
        key = (sha, file, path)
        if key not in self._steps:
            before, after = self.clone.text(f"{sha}^", file), self.clone.text(sha, file)
            self._steps[key] = Step(sha, chains.row(before, path), chains.row(after, path))
        return self._steps[key]

    def brings(self, sha: str, name: str) -> bool:
        """Whether a commit binds a name that was not bound in the same file before."""
        bound = re.compile(
            rf"(?:def|class)\s+{name}\b|^\s*{name}\s*[:=]|\.{name}\s*[:=]|import\b.*\b{name}\b|^\s+{name},$",
            re.MULTILINE,
        )
        return any(
            bound.search(file.after or "") and not bound.search(file.before or "") for file in self.product_files(sha)
        )

    def _read_altered(self, sha: str) -> Iterator[Altered]:
        for file in self.product_files(sha):
            before, after = inventory(file.before or ""), inventory(file.after or "")
            for path in dict.fromkeys((*before.items, *after.items)):
                old, new = before.items.get(path, []), after.items.get(path, [])
                functions = [item for item in (*old, *new) if isinstance(item.node, FunctionNode)]
                if functions and [item.code for item in old] != [item.code for item in new]:
                    step = Step(sha, chains.row(file.before, path), chains.row(file.after, path))
                    yield Altered(file.old_path, path, step)


def _code_of(text: str, path: str) -> list[str]:
    try:
        return [item.code for item in inventory(text).items.get(path, ())]
    except (SyntaxError, ValueError):
        return []


def _written(text: str, name: str) -> list[str]:
    """The lines of every function of a name with its decorators, as far as indentation tells where it ends."""
    lines = text.split("\n")
    found = []
    for match in re.finditer(rf"^([ \t]*)(?:async )?def {re.escape(name)}\b", text, re.MULTILINE):
        first = text.count("\n", 0, match.start())
        indent = len(match[1])
        last = first + 1
        while last < len(lines) and _is_inside(lines[last], indent):
            last += 1
        while first and lines[first - 1][indent:].startswith("@"):
            first -= 1
        found.append("\n".join(lines[first:last]).rstrip())
    return found


def _is_inside(line: str, indent: int) -> bool:
    """Whether a line still belongs to a function whose ``def`` has this indentation."""
    content = line.lstrip()
    return not content or len(line) - len(content) > indent or content[0] in ")]}#"
