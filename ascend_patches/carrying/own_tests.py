"""The tests that a change brings: its test files as they are after it, and the release's tests around them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ascend_patches.carrying.change import Change, FileChange, kind_of, module_of
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.inventory import Inventory, inventory
from ascend_patches.carrying.items import inside_whole
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.splicing import splice
from ascend_patches.errors import CarryError

_TOP = "tests"


class TreeOfTests(NamedTuple):
    """The tests of a release, read when they are asked for."""

    paths: tuple[str, ...]
    text: Callable[[str], str | None]
    where: str

    @property
    def code(self) -> Code:
        return Code(self.text, lambda: self.paths, (_TOP,))


class FileOfTests(NamedTuple):
    """A file of tests. Where its first text cannot be collected on the release, the next one is tried."""

    path: str
    texts: tuple[str, ...]


class OwnTests(NamedTuple):
    """The tests of a change, what they need around them, and what of them cannot be had, with the reason."""

    files: tuple[FileOfTests, ...]
    around: dict[str, str]
    missing: tuple[str, ...]
    around_upstream: dict[str, str]
    """What is around them where the change was made, as far as it is another text than the release's."""


def of_clone(clone: Clone, commit: str) -> TreeOfTests:
    """The tests of a commit's tree."""
    return TreeOfTests(tuple(clone.paths(commit, _TOP)), lambda path: clone.text(commit, path), commit[:12])


def of_folder(folder: str) -> TreeOfTests:
    """The tests below a folder, such as an unpacked sdist."""

    def text(path: str) -> str | None:
        try:
            with open(os.path.join(folder, path), encoding="utf-8") as stream:
                return stream.read()
        except (OSError, ValueError):
            return None

    return TreeOfTests(tuple(_below(folder)), text, folder)


def touches_tests(change: Change) -> list[FileChange]:
    """The Python files of tests that a change leaves behind."""
    return [
        file
        for file in change.files
        if kind_of(file.path, ()) == "tests" and file.path.endswith(".py") and file.after is not None
    ]


def can_run(path: str) -> bool:
    """Whether a test file runs without models and whole servers, by where it lies."""
    return _is_test(path) and "/e2e/" not in path


def of_change(change: Change, tree: TreeOfTests) -> OwnTests:
    """The tests that a change adds or touches. Nothing of them is run."""
    touched = touches_tests(change)
    if not touched:
        raise CarryError(f"{change.subject}: there are no tests in this change, and so nothing to prove it by")
    around = {path: text for path in tree.paths if _is_around(path) and (text := tree.text(path)) is not None}
    files, missing = [], []
    for file in touched:
        if file.after is None or file.problem:
            missing.append(f"{file.path}: {file.problem or 'its text is not known'}")
        elif not _is_test(file.path):
            around[file.path] = file.after
        elif not can_run(file.path):
            missing.append(f"{file.path}: needs models or whole servers, and is not run")
        elif file.unplaced:
            missing.append(f"{file.path}: the release's file has no place for {len(file.unplaced)} of its changes")
        else:
            texts = [file.after, *_spliced(file, tree)]
            files.append(FileOfTests(file.path, tuple(dict.fromkeys(texts))))
    upstream = {path: text for path in around if change.base is not None and (text := change.base(path)) is not None}
    upstream = {path: text for path, text in upstream.items() if text != around[path]}
    return OwnTests(tuple(files), around, tuple(missing), upstream)


def _is_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py")


def _is_around(path: str) -> bool:
    """Whether a file can be needed by others: tests are not, and those of whole servers bring too much."""
    return not _is_test(path) and not path.startswith(f"{_TOP}/e2e/nightly/")


def _below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(os.path.join(folder, _TOP)):
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")


def _spliced(file: FileChange, tree: TreeOfTests) -> Iterator[str]:
    """The release's own file with what the change altered in it: later tests of that file are not in the way then."""
    release = tree.text(file.old_path)
    if release is None or file.before is None or file.after is None:
        return
    try:
        before, after, there = inventory(file.before), inventory(file.after), inventory(release)
    except (SyntaxError, ValueError):
        return
    found = list(_altered(file.old_path, before, after, there))
    if found:
        yield from splice(found, tree.code).values()


def _altered(place: str, before: Inventory, after: Inventory, there: Inventory) -> Iterator[Definition]:
    for path, items in after.items.items():
        old, release, item = before.items.get(path, []), there.items.get(path, []), items[0]
        if len(items) > 1 or len(release) > 1 or item.kind == "statement" or (item.kind == "class" and release):
            continue
        if [each.code for each in old] == [item.code] or inside_whole(path, before, after):
            continue
        if (item.kind == "import" and release) or (item.scope and item.scope not in there.items):
            continue
        definition = Definition(
            f"{module_of(place)}:{path}", place, item.kind, "exact" if release else "added", scope=item.scope
        )
        definition.text = after.source(item)
        yield definition
