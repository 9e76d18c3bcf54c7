"""The scores of other people's tests: what is kept of them, as a table, and the page."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .explained import EXPLAINED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "peers.md"

_ABOUT = """# Other people's tests

`tools/peers --write` writes this page: unit tests of vllm-ascend's releases, the tests of its numbers
(`*_precision.py`) among them, and vLLM's goldens of attention for encoders. They are taken from the sdists when they
are run and never kept in this repository. They run on the emulated NPU, without our patches and with all of them. What
fails on both sides alike is upstream's own, or something that the emulated NPU does not have.

* vllm-ascend's tests get the configurations that they ask a hub for by name, and an `npu-smi` that answers. DeepSeek-V2
  has 16 heads of its 128 unless `--all-heads` is given.
* vLLM's goldens find the names of an older release where they look for them, ask of "npu" what they ask of "cuda", and
  may use float32, which a real NPU's attention for encoders refuses. Unpatched, attention with fewer heads of keys than
  of queries fails where a release repeats the keys and then says that it has not.
* `test_sfa_*_precision.py` ask for sparse attention out of vllm-ascend's compiled extension, which is not emulated.
* worse: passes unpatched and does not pass patched.

Files that are not in the table were not run; `tools/peers --write --missing` runs them.
"""


@dataclass(frozen=True)
class Kept:
    """What is kept of one file of tests on one release: how many ended how by side, and what was worse patched."""

    release: str
    file: str
    day: str
    unpatched: dict[str, int]
    patched: dict[str, int]
    worse: list[str]


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

    def kept(self) -> Kept:
        unpatched, patched = (dict(Counter(side.values())) for side in (self.unpatched, self.patched))
        return Kept(self.release, self.file, datetime.date.today().isoformat(), unpatched, patched, self.worse)


def explained(test: str) -> str:
    """Which internal detail a test looks at, where that is why it fails patched."""
    return next((why for part, why in EXPLAINED.items() if part in test), "")


def row(kept: Kept) -> str:
    cells = (kept.release, kept.file, _passed(kept.unpatched), _passed(kept.patched), str(len(kept.worse)))
    return f"| {' | '.join(cells)} |"


def table(scores: Sequence[Kept]) -> str:
    head = ("release", "file", "unpatched", "patched", "worse")
    return "\n".join([f"| {' | '.join(head)} |", "| --- | --- | --- | --- | --- |", *map(row, scores)])


def read() -> list[Kept]:
    """What the page has."""
    numbers = PAGE.with_suffix(".json")
    if not numbers.is_file():
        return []
    return [Kept(**each) for each in json.loads(numbers.read_text("utf-8"))]


def write(new: Iterable[Kept]) -> None:
    """Put scores in the place of those that the page has of the same files."""
    scores = {(each.release, each.file): each for each in [*read(), *new]}
    kept = [scores[key] for key in sorted(scores)]
    PAGE.with_suffix(".json").write_text(json.dumps(list(map(asdict, kept)), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")


def page(scores: Sequence[Kept]) -> str:
    days = sorted({score.day for score in scores})
    lines = [_ABOUT, f"Run on {' to '.join(dict.fromkeys((days[0], days[-1])))}.", "", "## All files", ""]
    lines += ["| release | files | unpatched | patched | worse |", "| --- | --- | --- | --- | --- |"]
    lines += [_sum(release, of) for release, of in _by_release(scores).items()]
    lines += ["", "## By file", "", table(scores)]
    worse = [test for score in scores for test in score.worse]
    if worse:
        lines += ["", "## Worse, and why", "", *(f"* `{test}`: {explained(test) or 'not explained'}" for test in worse)]
    return "\n".join(lines) + "\n"


def _by_release(scores: Sequence[Kept]) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = {}
    for score in scores:
        found.setdefault(score.release, []).append(score)
    return found


def _sum(release: str, scores: Sequence[Kept]) -> str:
    sides = [sum((Counter(side) for side in sides), Counter()) for sides in zip(*map(_sides, scores), strict=True)]
    cells = (release, str(len(scores)), *map(_passed, sides), str(sum(len(score.worse) for score in scores)))
    return f"| {' | '.join(cells)} |"


def _sides(score: Kept) -> tuple[dict[str, int], dict[str, int]]:
    return score.unpatched, score.patched


def _passed(counts: dict[str, int]) -> str:
    """How many passed of those that ran; what is said of a whole file stands for it."""
    known = ("passed", "failed", "skipped")
    run = counts.get("passed", 0) + counts.get("failed", 0)
    words = [f"{counts.get('passed', 0)} of {run}"] if run or not counts.keys() - set(known) else []
    words += [f"{counts['skipped']} skipped"] if counts.get("skipped") else []
    words += [what if number == 1 else f"{number} files {what}" for what, number in counts.items() if what not in known]
    return ", ".join(words)
