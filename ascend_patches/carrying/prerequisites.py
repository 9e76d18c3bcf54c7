"""Earlier changes that a change needs on a release: found in a clone's history, and carried before it.

A change is blocked where the release's code is older than what it was made to. The commits that touched the functions
in conflict, or that brought the names that are missing, are tried, the fewest that do first. All of them together are
then judged once more as one change to the release, so that every check sees what will be in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ascend_patches.carrying import chains, onto
from ascend_patches.carrying.chains import Step, row
from ascend_patches.carrying.change import Change, FileChange, kind_of
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.earlier import described
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.errors import CarryError

_ATTEMPTS = 8
_WIDTH = 8
_OF_ONE_FILE = 30
_OF_ONE_CHAIN = 8
_OF_ONE_NAME = 12
_BLOCKS = ("conflict", "not there", "cannot")
_UNUSED = "nothing on the release uses"
_NEED = (
    re.compile(r"no function (\w+) takes"),
    re.compile(r"has no (?:field )?'?(\w+)'?"),
    re.compile(r"^(?:[\w.]+[.:])?(\w+)"),
)


def carry(change: Change, code: Code, clone: Clone, most: int) -> Result:
    """The change on the release, with up to ``most`` earlier ones carried first where it needs them.

    The result of the change alone where it needs none, or where no earlier ones are found that do.
    """
    alone = onto.carry(change, code)
    if alone.verdict not in ("partly", "not carried") or not change.commits:
        return alone
    return _Search(change, code, clone, most).result() or alone


def release_point(change: Change, code: Code, clone: Clone) -> str:
    """The commit from which the release and the change's own line went their ways."""
    products = [file.path for file in change.files if kind_of(file.path, code.packages) == "product"]
    package = products[0].partition("/")[0] if products else code.packages[0]
    version = (code.versions.get(package.replace("_", "-")) or "").partition("+")[0]
    tag = f"v{version}"
    if not version or not clone.has(tag):
        raise CarryError(
            f"{clone.path}: the clone has no tag {tag}, from which earlier changes are looked for; fetch it: "
            f"git -C {clone.path} fetch origin tag {tag}"
        )
    return clone.merge_base(tag, change.commits[0].sha)


class _Search:
    """Tries sets of earlier changes, the smallest first."""

    def __init__(self, change: Change, code: Code, clone: Clone, most: int) -> None:
        self.change = change
        self.code = code
        self.clone = clone
        self.most = most
        self.since = release_point(change, code, clone)
        self.changes: dict[str, Change] = {}
        history = clone.history(self.since, change.commits[0].sha)
        self.order = {sha: index for index, sha in enumerate(history)}
        self.steps: dict[tuple[str, ...], tuple[Code, list[Result]] | Result] = {(): (code, [])}

    def result(self) -> Result | None:
        waiting: list[frozenset[str]] = [frozenset()]
        seen = set(waiting)
        attempts = 0
        while waiting and attempts < _ATTEMPTS:
            chosen = waiting.pop(0)
            attempts += 1
            found = self._attempt(chosen)
            if isinstance(found, list):
                return self._together(found)
            for more in self._sets(found, self.most - len(chosen)):
                wider = chosen | more
                if wider not in seen:
                    seen.add(wider)
                    waiting.append(wider)
        return None

    def _attempt(self, chosen: frozenset[str]) -> list[Result] | Result:
        """The results of the chosen changes and of the change itself, one upon the other; or the first that stops."""
        ordered = tuple(sorted(chosen, key=lambda sha: self.order[sha]))
        below = self._below(ordered)
        if isinstance(below, Result):
            return below
        layered, results = below
        last = onto.carry(self.change, layered)
        return last if _stops(last) or not last.carried else [*results, last]

    def _below(self, ordered: tuple[str, ...]) -> tuple[Code, list[Result]] | Result:
        if ordered not in self.steps:
            below = self._below(ordered[:-1])
            if isinstance(below, Result):
                self.steps[ordered] = below
            else:
                layered, results = below
                one = onto.carry(self._change(ordered[-1]), layered)
                # What the release has already adds nothing.
                useless = _stops(one) or not one.carried
                self.steps[ordered] = one if useless else (layered.over(dict(one.files)), [*results, one])
        return self.steps[ordered]

    def _change(self, sha: str) -> Change:
        if sha not in self.changes:
            self.changes[sha] = self.clone.change(sha)
        return self.changes[sha]

    def _sets(self, stopped: Result, most: int) -> list[frozenset[str]]:
        """Sets of earlier commits after which all that stops a change may go, the smallest first."""
        blocked = [each for each in stopped.definitions if each.verdict in _BLOCKS]
        if not blocked or not most or any(not _can_be_helped(each) for each in blocked):
            return []
        sets: list[frozenset[str]] = [frozenset()]
        for definition in blocked:
            options = [frozenset(each) for each in self._options(definition, stopped.change, most)]
            wider = {some | more for some in sets for more in options if len(some | more) <= most}
            sets = sorted(wider, key=lambda one: (len(one), sorted(-self.order[sha] for sha in one)))[:_WIDTH]
        fitting = [one for one in sets if one and all(self._could_be_carried(sha) for sha in one)]
        # One that is alone has only the release below it: whether its functions merge there is quickly known.
        return [one for one in fitting if len(one) > 1 or all(self._merges(sha) for sha in one)]

    def _options(self, definition: Definition, change: Change, most: int) -> Iterator[tuple[str, ...]]:
        """The sets of earlier commits that answer what stops one definition."""
        before = change.commits[-1].sha
        if definition.verdict == "cannot":
            for need in definition.reason.removeprefix("needs ").split("; "):
                name = next((found[1] for pattern in _NEED if (found := pattern.search(need))), "")
                if name:
                    naming = self._log(before, _OF_ONE_NAME, self.code.packages, f"-S{name}")
                    yield from ((sha,) for sha in naming if self._brings(sha, name))
            return
        path = definition.path
        for file in change.files:
            if definition.file not in (file.path, file.old_path) and path not in _paths(file):
                continue
            touching = list(self._changing(before, file.old_path, path))
            if definition.kind != "function":
                yield from ((sha,) for sha in touching[:_OF_ONE_NAME])
                continue
            last = Step(before, row(file.before, path), row(file.after, path))
            steps = [
                Step(
                    sha,
                    row(self.clone.text(f"{sha}^", file.old_path), path),
                    row(self.clone.text(sha, file.old_path), path),
                )
                for sha in reversed(touching[:_OF_ONE_CHAIN])
            ]
            release = row(self.code.text(definition.file), path)
            yield from chains.leading_to(last, steps, release, most)

    def _changing(self, before: str, file: str, path: str) -> Iterator[str]:
        """The commits after which a definition of a file is another one, the newest first."""
        for sha in self._log(before, _OF_ONE_FILE, [file]):
            if _code_of(self.clone.text(f"{sha}^", file), path) != _code_of(self.clone.text(sha, file), path):
                yield sha

    def _brings(self, sha: str, name: str) -> bool:
        """Whether a commit binds a name that was not bound in the same file before."""
        bound = re.compile(
            rf"(?:def|class)\s+{name}\b|^\s*{name}\s*[:=]|\.{name}\s*[:=]|import\b.*\b{name}\b|^\s+{name},$",
            re.MULTILINE,
        )
        return any(
            bound.search(file.after or "") and not bound.search(file.before or "")
            for file in self._change(sha).files
            if kind_of(file.path, self.code.packages) == "product"
        )

    def _log(self, before: str, most: int, paths: Sequence[str], *options: str) -> list[str]:
        """Commits between the release and another one, the newest first."""
        revisions = f"{self.since}..{before}^"
        found = self.clone.log(f"-{most}", "--first-parent", *options, revisions, "--", *paths)
        return [commit.sha for commit in reversed(found) if commit.sha in self.order]

    def _could_be_carried(self, sha: str) -> bool:
        """Whether nothing speaks against a change before it is carried: native code, or a whole new module."""
        for file in self._change(sha).files:
            kind = kind_of(file.path, self.code.packages)
            new = kind == "product" and file.before is None and not self.code.has_path(file.path)
            if kind == "native" or new:
                return False
        return True

    def _merges(self, sha: str) -> bool:
        """Whether every function that a change alters merges into the release's own, by its statements alone."""
        for file in self._change(sha).files:
            text = self.code.text(file.old_path)
            if kind_of(file.path, self.code.packages) != "product" or text is None or file.after is None:
                continue
            try:
                before, after, there = inventory(file.before or ""), inventory(file.after), inventory(text)
            except (SyntaxError, ValueError):
                return False
            for path, items in after.items.items():
                old, release = before.one(path), there.one(path)
                if len(items) > 1 or items[0].kind != "function" or (old is not None and old.code == items[0].code):
                    continue
                if release is not None and release.code in (items[0].code, old.code if old is not None else ""):
                    continue
                step = Step(sha, row(file.before, path), row(file.after, path))
                if (old is None) != (release is None) or (old is not None and not chains.merges(step, row(text, path))):
                    return False
        return True

    def _together(self, results: Sequence[Result]) -> Result:
        """The changes as one, judged on the release itself."""
        files: dict[str, str] = {}
        for one in results:
            files |= one.files
        whole = Change(
            self.change.commits,
            tuple(FileChange(path, path, self.code.text(path), text) for path, text in sorted(files.items())),
            whole=True,
            source=self.change.source,
        )
        together = onto.carry(whole, self.code)
        of_target = {definition.target: definition for one in results for definition in one.carried}
        doubts: dict[str, list[str]] = {}
        for one in results:
            for definition in one.carried:
                # Whether something is used shows only when all is in place.
                said = [doubt for doubt in definition.doubts if not doubt.startswith(_UNUSED)]
                doubts.setdefault(definition.target, []).extend(said)
        for definition in together.carried:
            step = of_target.get(definition.target)
            if step is not None:
                definition.base, definition.theirs = step.base, step.theirs
                if step.verdict == "merged":
                    definition.verdict = "merged"
                definition.reason = definition.reason or step.reason
            definition.doubts = list(dict.fromkeys([*definition.doubts, *doubts.get(definition.target, ())]))
        together.change = self.change
        together.left_out = [each for one in results for each in one.left_out]
        together.callers = list(dict.fromkeys([*together.callers, *results[-1].callers]))
        together.prerequisites = tuple(described(one.change, len(one.carried)) for one in results[:-1])
        together.earlier = tuple(one.change for one in results[:-1])
        return together


def _stops(result: Result) -> bool:
    return result.verdict in ("partly", "not carried")


def _can_be_helped(definition: Definition) -> bool:
    """Whether an earlier change can make a difference to what stops a definition."""
    if definition.verdict == "cannot":
        return definition.reason.startswith("needs ") and "needs module " not in definition.reason
    return definition.kind in ("function", "attribute", "class", "import")


def _paths(file: FileChange) -> frozenset[str]:
    try:
        return frozenset(inventory(file.after or "").items)
    except (SyntaxError, ValueError):
        return frozenset()


def _code_of(text: str | None, path: str) -> list[str]:
    try:
        return [item.code for item in inventory(text or "").items.get(path, ())]
    except (SyntaxError, ValueError):
        return []
