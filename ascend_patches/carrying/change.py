"""An upstream change as it was made: its commits, and each file before and after."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

FileKind = Literal["product", "tests", "docs", "native", "other"]

_NATIVE = (".c", ".cc", ".cpp", ".cxx", ".cu", ".h", ".hpp", ".asc", ".cmake", ".so", ".pyx", ".rs", ".proto")
_NATIVE_NAMES = ("CMakeLists.txt", "Makefile")
_DOCS = (".md", ".rst", ".txt", ".po", ".png", ".jpg", ".svg", ".ipynb")


@dataclass(frozen=True)
class Commit:
    """Who made a change, and what for."""

    sha: str
    author: str
    date: str
    subject: str
    body: str = ""

    @property
    def number(self) -> str:
        """The number of the pull request, which a squashed commit has at the end of its subject."""
        found = re.findall(r"\(#(\d+)\)", self.subject)
        return found[-1] if found else ""


@dataclass(frozen=True)
class FileChange:
    """One file before and after a change; None is a file that is not there.

    ``problem`` says why a side of it is not known: a binary, or hunks that fit nowhere. ``unplaced`` are the hunks of a
    patch file for which the release has no place, as text.
    """

    path: str
    old_path: str
    before: str | None
    after: str | None
    problem: str = ""
    unplaced: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return module_of(self.path)

    @property
    def old_module(self) -> str:
        return module_of(self.old_path)


@dataclass(frozen=True)
class Change:
    """Several commits as one difference.

    ``whole`` says that both sides of every file are known, not only the neighbourhood of what changed. ``base`` reads
    any file of the tree before the change, where that tree is at hand.
    """

    commits: tuple[Commit, ...]
    files: tuple[FileChange, ...]
    whole: bool
    base: Callable[[str], str | None] | None = None
    source: str = ""
    statements: tuple[str, ...] = field(default=())

    @property
    def subject(self) -> str:
        return self.commits[-1].subject if self.commits else self.source

    @property
    def number(self) -> str:
        return next((commit.number for commit in reversed(self.commits) if commit.number), "")


def kind_of(path: str, packages: tuple[str, ...]) -> FileKind:
    """What a file of a repository is for, by its path."""
    name = path.rpartition("/")[2]
    top = path.partition("/")[0]
    if path.endswith(_NATIVE) or name in _NATIVE_NAMES or top == "csrc":
        return "native"
    if top in ("tests", "test") or "/tests/" in path or name == "conftest.py":
        return "tests"
    if top in packages and path.endswith(".py"):
        return "product"
    if top in ("docs", "doc", "examples") or path.endswith(_DOCS):
        return "docs"
    return "other"


def module_of(path: str) -> str:
    """The module that a file of a package is."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
