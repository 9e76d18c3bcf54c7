"""The scores as a table, and the page of them."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .explained import EXPLAINED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "peers.md"

_HEAD = """# Other people's tests

`tools/peers` writes this page: unit tests of the releases, taken from their sdists when it is run and never kept in
this repository, on the emulated NPU, without our patches and with them. The same failures on both sides are upstream's
own, or something that the emulated NPU does not have.

Run on {day}. Files that are not in the table were not run.
"""


@dataclass(frozen=True)
class Score:
    """One file of tests on one release: the outcome of every test, unpatched and patched."""

    release: str
    file: str
    unpatched: dict[str, str]
    patched: dict[str, str]

    @property
    def worse(self) -> list[str]:
        """The tests that pass unpatched and do not pass patched."""
        return [
            f"{self.release} {self.file} {name}"
            for name, outcome in self.unpatched.items()
            if outcome == "passed" and self.patched.get(name) != "passed"
        ]


def explained(test: str) -> str:
    """Which internal detail a test looks at, where that is why it fails patched."""
    return next((why for part, why in EXPLAINED.items() if part in test), "")


def row(score: Score) -> str:
    cells = (score.release, score.file, _passed(score.unpatched), _passed(score.patched), str(len(score.worse)))
    return f"| {' | '.join(cells)} |"


def table(scores: Sequence[Score]) -> str:
    head = ("release", "file", "unpatched", "patched", "worse")
    return "\n".join([f"| {' | '.join(head)} |", "| --- | --- | --- | --- | --- |", *map(row, scores)])


def write(scores: Sequence[Score]) -> None:
    lines = [_HEAD.format(day=datetime.date.today().isoformat()), table(scores), ""]
    for score in scores:
        lines += [f"* `{test}`: {explained(test) or 'not explained'}" for test in score.worse]
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _passed(outcomes: dict[str, str]) -> str:
    if list(outcomes) == ["(the file)"]:
        return outcomes["(the file)"]
    counts = Counter(outcomes.values())
    run = sum(counts.values()) - counts["skipped"]
    return f"{counts['passed']} of {run}" + (f", {counts['skipped']} skipped" if counts["skipped"] else "")
