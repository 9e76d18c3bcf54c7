"""What the tests of a change show: each test's outcome without the carried patch and with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Shown = Literal["proved", "only names missing before", "not proved", "worse", "no tests"]


@dataclass(frozen=True)
class OneTest:
    """One test, without the patch and with it."""

    test: str
    before: str
    after: str
    reason: str = ""
    """Why it fails on the last side that it fails on."""

    @property
    def is_fixed(self) -> bool:
        return self.before == "failed" and self.after == "passed"

    @property
    def is_only_found(self) -> bool:
        """It passes with the patch, and without it only a name that it asks for is missing."""
        return self.before in ("name missing", "not collected") and self.after == "passed"

    @property
    def is_worse(self) -> bool:
        return self.before == "passed" and self.after not in ("passed", "skipped")


@dataclass(frozen=True)
class Proof:
    """The results of all tests of a change."""

    tests: tuple[OneTest, ...] = ()
    device: str = ""
    problems: tuple[str, ...] = field(default=())
    """What kept tests from being run: files that cannot be had or collected, and a patch that was not in place."""
    in_place: bool = True

    @property
    def fixed(self) -> int:
        return sum(each.is_fixed for each in self.tests)

    @property
    def only_found(self) -> int:
        return sum(each.is_only_found for each in self.tests)

    @property
    def worse(self) -> tuple[str, ...]:
        return tuple(each.test for each in self.tests if each.is_worse)

    @property
    def shown(self) -> Shown:
        if self.worse:
            return "worse"
        if not self.in_place:
            return "not proved"
        if self.fixed:
            return "proved"
        if self.only_found:
            return "only names missing before"
        return "not proved" if self.tests or self.problems else "no tests"

    @property
    def sentences(self) -> list[str]:
        """What is shown, in words, the most important first."""
        said = []
        if self.worse:
            said.append(f"{_tests(len(self.worse))} without it and not with it: {', '.join(self.worse)}")
        if self.fixed:
            said.append(
                f"{self.fixed} {_plural(self.fixed, 'test fails', 'tests fail')} without it and "
                f"{_passes(self.fixed)} with it"
            )
        if self.only_found:
            said.append(
                f"{self.only_found} {_plural(self.only_found, 'test finds', 'tests find')} a name only with it, and "
                f"{_passes(self.only_found)}: that proves less"
            )
        both = sum(each.before == each.after == "passed" for each in self.tests)
        neither = sum(each.after not in ("passed", "skipped") and not each.is_worse for each in self.tests)
        if both:
            said.append(f"{_tests(both)} on both sides")
        if neither:
            said.append(f"{neither} {_plural(neither, 'fails', 'fail')} on both sides")
        return said or ["no test of the change could be run"]

    def as_json(self) -> dict[str, Any]:
        return {
            "shown": self.shown,
            "device": self.device,
            "fail_before_and_pass_after": self.fixed,
            "only_names_missing_before": self.only_found,
            "pass_before_and_fail_after": len(self.worse),
            "tests": [
                {"test": each.test, "before": each.before, "after": each.after, "reason": each.reason}
                for each in self.tests
            ],
            "problems": list(self.problems),
        }


def in_readme(proof: Proof | None, command: str, *, has_tests: bool) -> list[str]:
    """What the README of a carried patch says of its proof: what was shown, or how to show it."""
    if not has_tests:
        return ["The change has no tests of its own. Put it on a machine that is like yours, and measure there."]
    asked = ["```", command, "```", ""]
    if proof is None:
        return [
            "The change has tests of its own. They were not run when this was written; this runs them on the release,",
            "without the patch and with it:",
            "",
            *asked[:-1],
        ]
    lines = [*asked, f"showed, on {proof.device or 'no device'}: {'; '.join(proof.sentences)}.", ""]
    lines += [f"- `{each.test}`: {each.before}, then {each.after}" for each in proof.tests if each.before != each.after]
    lines += [f"- {problem}" for problem in proof.problems]
    return lines if lines[-1] else lines[:-1]


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _passes(count: int) -> str:
    return _plural(count, "passes", "pass")


def _tests(count: int) -> str:
    return f"{count} {_plural(count, 'test passes', 'tests pass')}"
