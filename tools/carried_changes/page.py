"""docs/carried.md: one line for each fix, to be searched by its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

NO_TIME = "not judged in time"


class Tests(TypedDict):
    """What a change's own tests show: in words, and how many fail without it and pass with it."""

    shown: str
    mended: int
    only_names: int


class Verdict(TypedDict, total=False):
    """What one change comes to on one release. Facts only: no code of upstream's."""

    number: str
    commit: str
    subject: str
    where: str
    verdict: str
    definitions: dict[str, int]
    at: str
    prerequisites: list[str]
    tests: Tests
    in_place: str


_HEAD = """\
# Upstream's fixes on stable releases

<!-- Written by tools/carried. -->

Is a fix of vllm-ascend on my release, or can I have it? Search this page for its number. `carried`: `ascend-patches
carry` makes a patch of it. `already there`: the release has it. `review`: it merges, and something speaks against
it; a person has to look. `partly`, `not carried`: the release's code is another; `ascend-patches carry` says where.
Listed are the fixes that change Python files of the package only: those of main from the point where the release
left it to the point where the next stable one did, and what is on the release's own branch after its tag, which no
wheel has. `after N more`: `--with-prerequisites` carries it after up to three earlier changes; they are named, and some
are features.

`in place` counts the carried changes, those after others among them, that were written, found, applied on the emulated
NPU of their release with all their names resolved, and reverted to the letter (`tools/carried --prove`). Where the
release itself cannot import the module that is patched, no patch being on, the error stands below its table.

The last columns count the carried changes by their own unit tests, run on the emulated NPU without the patch and with
it (`tools/carried --own-tests`): proved are those of which a test fails without it and passes with it; only names are
those whose tests fail without it because a name cannot be imported or looked up, which proves less.
"""

_COLUMNS = (
    "release",
    "fixes",
    "carried",
    "already there",
    "review",
    "partly",
    "not carried",
    NO_TIME,
    "carried after others",
    "in place",
    "release cannot import",
    "proved by own tests",
    "only names",
)


def _counted(title: str, chosen: Sequence[Verdict]) -> str:
    """One line of the first table."""
    counted = Counter(each["verdict"] for each in chosen)
    shown = Counter(each["tests"]["shown"] for each in chosen if "tests" in each)
    numbers = [len(chosen)]
    numbers += [counted[name] for name in ("carried", "already there", "review", "partly", "not carried", NO_TIME)]
    numbers.append(sum(bool(each.get("prerequisites")) for each in chosen))
    places = [_in_place(each) for each in chosen]
    numbers += [places.count("yes"), places.count(_UNIMPORTABLE)]
    numbers += [shown["proved"], shown["only names missing before"]]
    return f"| {title} | {' | '.join(map(str, numbers))} |"


def _of_tests(each: Verdict) -> str:
    """What a change's own tests show, in two words."""
    if "tests" not in each:
        return "-"
    tests = each["tests"]
    if tests["shown"] == "proved":
        return f"{tests['mended']} mended"
    return "only names" if tests["shown"] == "only names missing before" else str(tests["shown"])


_UNIMPORTABLE = "cannot be imported"


def _in_place(each: Verdict) -> str:
    """Whether a carried change was in place, in two words."""
    said = each.get("in_place", "-")
    return said if said in ("yes", "-") else _UNIMPORTABLE if said.startswith("the release itself") else "no"


def written(releases: Mapping[str, Sequence[Verdict]]) -> str:
    """The page."""
    lines = [_HEAD, f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    for release, verdicts in releases.items():
        for where in ("main", "branch"):
            lines.append(_counted(f"{release}, {where}", [each for each in verdicts if each["where"] == where]))
    every = [each for verdicts in releases.values() for each in verdicts if each["where"] == "main"]
    lines.append(_counted("all, main", every))
    for release, verdicts in releases.items():
        lines += [
            "",
            f"## vllm-ascend {release}",
            "",
            "| change | verdict | in place | own tests | commit | subject |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for each in verdicts:
            branch = " (its own branch)" if each["where"] == "branch" else ""
            after = each.get("prerequisites")
            verdict = f"{each['verdict']}{f', after {len(after)} more: ' + ', '.join(after) if after else ''}{branch}"
            number = f"#{each['number']}" if each["number"] else "-"
            # A subject such as [bugfix](cp) would be a link.
            subject = each["subject"].replace("|", "/").replace("<", "&lt;").replace("](", "]\\(")
            facts = f"{_in_place(each)} | {_of_tests(each)}"
            lines.append(f"| {number} | {verdict} | {facts} | {each['commit']} | {subject} |")
        explained = [each for each in verdicts if _in_place(each) not in ("yes", "-")]
        lines += [f"\nNot in place: {each['commit']}: {each['in_place']}" for each in explained]
    return "\n".join([*lines, ""])
