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
            "| change | verdict | own tests | commit | subject |",
            "| --- | --- | --- | --- | --- |",
        ]
        for each in verdicts:
            branch = " (its own branch)" if each["where"] == "branch" else ""
            after = each.get("prerequisites")
            verdict = f"{each['verdict']}{f', after {len(after)} more: ' + ', '.join(after) if after else ''}{branch}"
            number = f"#{each['number']}" if each["number"] else "-"
            # A subject such as [bugfix](cp) would be a link.
            subject = each["subject"].replace("|", "/").replace("<", "&lt;").replace("](", "]\\(")
            lines.append(f"| {number} | {verdict} | {_of_tests(each)} | {each['commit']} | {subject} |")
    return "\n".join([*lines, ""])
