"""docs/carried.md: one line for each fix, to be searched by its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

NO_TIME = "not judged in time"


class Verdict(TypedDict, total=False):
    """What one change comes to on one release. Facts only: no code of upstream's."""

    number: str
    commit: str
    subject: str
    where: str
    verdict: str
    definitions: dict[str, int]
    at: str


_HEAD = """\
# Upstream's fixes on stable releases

<!-- Written by tools/carried. -->

Is a fix of vllm-ascend on my release, or can I have it? Search this page for its number. `carried`: `ascend-patches
carry` makes a patch of it. `already there`: the release has it. `review`: it merges, and something speaks against
it; a person has to look. `partly`, `not carried`: the release's code is another; `ascend-patches carry` says where.
Listed are the fixes that change Python files of the package only: those of main from the point where the release
left it to the point where the next stable one did, and what is on the release's own branch after its tag, which no
wheel has.

| release | fixes | carried | already there | review | partly | not carried | not judged in time |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def written(releases: Mapping[str, Sequence[Verdict]]) -> str:
    """The page."""
    lines = [_HEAD.rstrip("\n")]
    for release, verdicts in releases.items():
        for where in ("main", "branch"):
            chosen = [each for each in verdicts if each["where"] == where]
            counted = Counter(each["verdict"] for each in chosen)
            names = ("carried", "already there", "review", "partly", "not carried", NO_TIME)
            cells = [f"{release}, {where}", str(len(chosen)), *(str(counted[name]) for name in names)]
            lines.append(f"| {' | '.join(cells)} |")
    for release, verdicts in releases.items():
        lines += [
            "",
            f"## vllm-ascend {release}",
            "",
            "| change | verdict | commit | subject |",
            "| --- | --- | --- | --- |",
        ]
        for each in verdicts:
            branch = " (its own branch)" if each["where"] == "branch" else ""
            number = f"#{each['number']}" if each["number"] else "-"
            # A subject such as [bugfix](cp) would be a link.
            subject = each["subject"].replace("|", "/").replace("<", "&lt;").replace("](", "]\\(")
            lines.append(f"| {number} | {each['verdict']}{branch} | {each['commit']} | {subject} |")
    return "\n".join([*lines, ""])
