"""Earlier changes that a change needs on a release: found in a clone's history, and carried before it.

A change is blocked where the release's code is older than what it was made to. The commits that touched the functions
in conflict, or that brought the names that are missing, are tried, the fewest that do first. What is tried is rehearsed
on statements alone before it is carried. All of them together are then judged once more as one change to the release,
so that every check sees what will be in place.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence

from ascend_patches.carrying import chains, onto
from ascend_patches.carrying.chains import Step
from ascend_patches.carrying.change import Change, FileChange, kind_of
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.earlier import described
from ascend_patches.carrying.history import Altered, History
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.rehearsal import Rehearsal
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.errors import CarryError

_ATTEMPTS = 10
_REHEARSALS = 150
_WIDTH = 12
_OF_ONE_FILE = 60
_OF_ONE_CHAIN = 10
_OF_ONE_NAME = 12
_KEPT_STEPS = 64
_BLOCKS = ("conflict", "not there", "cannot")
_UNUSED = ("nothing on the release uses", "nothing on the release imports")
_MODULE = "module "
_NEED = (
    re.compile(r"no function (\w+) takes"),
    re.compile(r"has no (?:field )?'?(\w+)'?"),
    re.compile(r"^(?:[\w.]+[.:])?(\w+)"),
)
Below = tuple[Code, list[Result]] | Result
"""The release under some changes, with their results; or the result of the first of them that stops."""


def carry(change: Change, code: Code, clone: Clone, most: int) -> Result:
    """The change on the release, with up to ``most`` earlier ones carried first where it needs them.

    The result of the change alone where it needs none, or where no earlier ones are found that do.
    """
    return Searcher(code, clone, most).carry(change)


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


class Searcher:
    """Searches for one change after the other on one release, and keeps what it has found out about earlier ones."""

    def __init__(self, code: Code, clone: Clone, most: int) -> None:
        self.code = code
        self.clone = clone
        self.most = most
        self.history = History(clone, code.packages)
        self.rehearsal = Rehearsal(code, self.history)
        self.hopeless: dict[str, str] = {}
        """Earlier changes that stop at what none before them can help, each with what that is."""
        self._steps: dict[tuple[str, ...], Below] = {}

    def carry(self, change: Change, alone: Result | None = None) -> Result:
        """The change with the earlier ones that it needs; ``alone`` is its own result, where that is known."""
        if alone is None:
            alone = onto.carry(change, self.code)
        if not _stops(alone) or not change.commits or not self.most:
            return alone
        search = _Search(change, alone, self)
        found = search.result()
        if found is None:
            alone.searched = search.why
        return found or alone

    def below(self, ordered: tuple[str, ...]) -> Below:
        """The release under some earlier changes, in their order."""
        if not ordered:
            return self.code, []
        if ordered not in self._steps:
            while len(self._steps) >= _KEPT_STEPS:
                del self._steps[next(iter(self._steps))]
            self._steps[ordered] = self._step(ordered)
        return self._steps[ordered]

    def _step(self, ordered: tuple[str, ...]) -> Below:
        below = self.below(ordered[:-1])
        if isinstance(below, Result):
            return below
        layered, results = below
        one = onto.carry(self.history.change(ordered[-1]), layered)
        # What the release has already adds nothing.
        useless = _stops(one) or not one.carried
        stop = _hopeless(one)
        if stop is not None:
            self.hopeless[ordered[-1]] = f"{_named(stop)}: {stop.reason}"
        return one if useless else (layered.over(dict(one.files)), [*results, one])


class _Search:
    """Tries sets of earlier changes for one change, the smallest first."""

    def __init__(self, change: Change, alone: Result, searcher: Searcher) -> None:
        self.change = change
        self.alone = alone
        self.searcher = searcher
        self.history = searcher.history
        self.most = searcher.most
        self.since = release_point(change, searcher.code, searcher.clone)
        line = searcher.clone.history(self.since, change.commits[0].sha)
        self.order = {sha: index for index, sha in enumerate(line)}
        own = {path for file in change.files for path in (file.path, file.old_path)}
        moved = any(each.file not in own for each in alone.definitions)
        self.elsewhere = frozenset(path for path in own if moved and not searcher.code.has_path(path))
        self.why = ""
        """What the search came to where it found nothing."""

    def result(self) -> Result | None:
        waiting: list[tuple[int, list[int], frozenset[str]]] = []
        seen: set[frozenset[str]] = {frozenset()}
        attempts = rehearsals = 0
        for_review: Result | None = None

        def wait_for(sets: list[frozenset[str]]) -> None:
            for one in sets:
                if one not in seen:
                    seen.add(one)
                    heapq.heappush(waiting, (len(one), sorted(-self.order[sha] for sha in one), one))

        wait_for(self._sets(self.alone, frozenset()))
        if not waiting and not self.why:
            self.why = "no earlier change answers what stops it"
        while waiting and attempts < _ATTEMPTS and rehearsals < _REHEARSALS:
            chosen = heapq.heappop(waiting)[2]
            rehearsals += 1
            stopped = self._rehearsed(chosen)
            if stopped is None:
                continue
            if stopped:
                self._say(chosen, f"{stopped[0].step.sha[:10]} does not merge at {stopped[0].path}")
                wait_for(self._wider(chosen, stopped))
                continue
            attempts += 1
            found = self._attempt(chosen)
            if isinstance(found, Result):
                stop = next((each for each in found.definitions if each.verdict in _BLOCKS), None)
                at = f"{_named(stop)}: {stop.verdict}" if stop is not None else "nothing of it is carried"
                self._say(chosen, f"{found.change.commits[-1].sha[:10]} stops at {at}")
                wait_for(self._sets(found, chosen))
                continue
            together = self._together(found)
            if together.verdict == "carried":
                return together
            if together.verdict == "review":
                for_review = for_review or together
            else:
                self._say(chosen, f"together they are {together.verdict}")
        return for_review

    def _say(self, chosen: frozenset[str], what: str) -> None:
        self.why = f"after {', '.join(sha[:10] for sha in self._ordered(chosen))}: {what}"

    def _ordered(self, chosen: frozenset[str]) -> tuple[str, ...]:
        return tuple(sorted(chosen, key=lambda sha: self.order[sha]))

    def _rehearsed(self, chosen: frozenset[str]) -> list[Altered] | None:
        """The functions at which the chosen changes and the change itself do not merge; None if they never can."""
        if any(self.history.is_native(sha) for sha in chosen):
            self._say(chosen, "one of them changes native code")
            return None
        for sha in self._ordered(chosen):
            if sha in self.searcher.hopeless:
                self._say(chosen, f"{sha[:10]} stops at {self.searcher.hopeless[sha]}")
                return None
        return self.searcher.rehearsal.stopped(
            [*self._ordered(chosen), *(commit.sha for commit in self.change.commits[-1:])], self.elsewhere
        )

    def _wider(self, chosen: frozenset[str], stopped: Sequence[Altered]) -> list[frozenset[str]]:
        """The chosen changes with more, after which the functions may merge at which they stopped."""
        room = self.most - len(chosen)
        if not room:
            return []
        return self._combined((self._leading_to(one.step, one.file, one.path, self.most) for one in stopped), chosen)

    def _attempt(self, chosen: frozenset[str]) -> list[Result] | Result:
        """The results of the chosen changes and of the change itself, one upon the other; or the first that stops."""
        below = self.searcher.below(self._ordered(chosen))
        if isinstance(below, Result):
            return below
        layered, results = below
        last = onto.carry(self.change, layered)
        return last if _stops(last) or not last.carried else [*results, last]

    def _sets(self, stopped: Result, chosen: frozenset[str]) -> list[frozenset[str]]:
        """Sets of earlier commits, the chosen among them, after which all that stops a change may go."""
        blocked = [each for each in stopped.definitions if each.verdict in _BLOCKS]
        if not blocked or len(chosen) >= self.most:
            return []
        hopeless = _hopeless(stopped)
        if hopeless is not None:
            if not chosen:
                self.why = f"no earlier change can help {_named(hopeless)}: {hopeless.reason}"
            return []
        return self._combined((self._options(one, stopped.change) for one in blocked), chosen)

    def _combined(self, options: Iterable[Iterable[tuple[str, ...]]], chosen: frozenset[str]) -> list[frozenset[str]]:
        """The smallest sets that hold the chosen commits and one option for each of what stops."""
        sets = [chosen]
        for each in options:
            sizes = {some | set(more) for more in each for some in sets}
            wider = {one for one in sizes if len(one) <= self.most}
            sets = sorted(wider, key=lambda one: (len(one), sorted(-self.order[sha] for sha in one)))[:_WIDTH]
            if not sets:
                break
        return [one for one in sets if one != chosen]

    def _options(self, definition: Definition, change: Change) -> Iterator[tuple[str, ...]]:
        """The sets of earlier commits that answer what stops one definition."""
        before = change.commits[-1].sha
        if definition.verdict == "cannot":
            for need in definition.reason.removeprefix("needs ").split("; "):
                if need.startswith(_MODULE):
                    added = f"{need.removeprefix(_MODULE).replace('.', '/')}.py"
                    yield from ((sha,) for sha in self._log(before, 1, [added], "--diff-filter=A"))
                    continue
                name = next((found[1] for pattern in _NEED if (found := pattern.search(need))), "")
                if name:
                    naming = self._log(before, _OF_ONE_NAME, self.history.packages, f"-S{name}")
                    yield from ((sha,) for sha in naming if self.history.brings(sha, name))
            return
        path = definition.path
        for file in change.files:
            if definition.file not in (file.path, file.old_path) and path not in _paths(file):
                continue
            if definition.kind == "function":
                last = Step(before, chains.row(file.before, path), chains.row(file.after, path))
                yield from self._leading_to(last, file.old_path, path, self.most, definition.file)
            else:
                yield from ((sha,) for sha in list(self._changing(before, file.old_path, path))[:_OF_ONE_NAME])

    def _leading_to(self, last: Step, file: str, path: str, most: int, place: str = "") -> list[tuple[str, ...]]:
        """The smallest sets of commits after which a function merges into the release's, at ``place`` if elsewhere."""
        release = self.searcher.rehearsal.release(place or file, path)
        steps = [self.history.step(sha, file, path) for sha in self._changing(last.sha, file, path)]
        found = chains.disputed(last, release)
        # Those that made what is disputed go first, and then the newest.
        nearest = sorted(steps, key=lambda step: not chains.concerns(step, found))[:_OF_ONE_CHAIN]
        chosen = {step.sha for step in nearest}
        return chains.leading_to(last, [step for step in reversed(steps) if step.sha in chosen], release, most)

    def _changing(self, before: str, file: str, path: str) -> Iterator[str]:
        """The commits after which a definition of a file is another one, the newest first."""
        return (sha for sha in self._log(before, _OF_ONE_FILE, [file]) if self.history.changed(sha, file, path))

    def _log(self, before: str, most: int, paths: Sequence[str], *options: str) -> list[str]:
        """Commits between the release and another one, the newest first."""
        found = self.searcher.clone.newest(f"{self.since}..{before}^", most, paths, *options)
        return [sha for sha in found if sha in self.order]

    def _together(self, results: Sequence[Result]) -> Result:
        """The changes as one, judged on the release itself."""
        files: dict[str, str] = {}
        for one in results:
            files |= one.files
        whole = Change(
            self.change.commits,
            tuple(FileChange(path, path, self.searcher.code.text(path), text) for path, text in sorted(files.items())),
            whole=True,
            source=self.change.source,
        )
        together = onto.carry(whole, self.searcher.code)
        of_target = {definition.target: definition for one in results for definition in one.carried}
        doubts: dict[str, list[str]] = {}
        added = {definition.target for definition in together.carried if definition.verdict == "added"}
        for one in results:
            for definition in one.carried:
                # Whether something is used shows only when all is in place; and what was between has no users then.
                gone = definition.misfits if definition.target in added else ()
                said = [each for each in definition.doubts if each not in gone and not each.startswith(_UNUSED)]
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
        together.steps = tuple(results)
        return together


def _stops(result: Result) -> bool:
    return result.verdict in ("partly", "not carried")


def _hopeless(result: Result) -> Definition | None:
    """What stops a change, and no earlier change can help."""
    return next((each for each in result.definitions if each.verdict in _BLOCKS and not _can_be_helped(each)), None)


def _named(definition: Definition) -> str:
    return definition.target.split()[0]


def _can_be_helped(definition: Definition) -> bool:
    """Whether an earlier change can make a difference to what stops a definition."""
    if definition.verdict == "cannot":
        return definition.reason.startswith("needs ")
    return definition.kind in ("function", "attribute", "class", "import")


def _paths(file: FileChange) -> frozenset[str]:
    try:
        return frozenset(inventory(file.after or "").items)
    except (SyntaxError, ValueError):
        return frozenset()
