"""Changes of both sides to statements that stand next to each other are merged; where they meet, they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import carried

RUNNER = "vllm_ascend/runner.py"
BASE = """
    class Runner:
        def step(self, tokens, limit):
            first = tokens[0]
            second = tokens[1]
            third = tokens[2]
            return second, third, limit
"""


def of(tmp_path: Path, theirs: tuple[str, str], release: tuple[str, str]) -> tuple[str, str]:
    after, there = BASE.replace(*theirs), BASE.replace(*release)
    assert BASE not in (after, there)
    result = carried(tmp_path, {RUNNER: there}, {RUNNER: BASE}, {RUNNER: after})
    return result.verdict, "".join(each.text for each in result.definitions)


def test_a_statement_beside_one_that_the_release_changed_is_changed(tmp_path: Path) -> None:
    verdict, text = of(tmp_path, ("tokens[1]", "tokens[1] + limit"), ("tokens[0]", "tokens[-1]"))
    assert verdict == "carried"
    assert "first = tokens[-1]\n        second = tokens[1] + limit" in text


def test_a_statement_is_put_in_between_two_of_which_the_release_changed_one(tmp_path: Path) -> None:
    put_in = ("second =", "assert limit\n            second =")
    verdict, text = of(tmp_path, put_in, ("tokens[0]", "tokens[-1]"))
    assert verdict == "carried"
    assert "first = tokens[-1]\n        assert limit\n        second" in text


@pytest.mark.parametrize(
    ("theirs", "release"),
    [
        # both changed one statement
        (("tokens[1]", "tokens[1] + limit"), ("tokens[1]", "tokens[3]")),
        # both put something in at one place
        (("second =", "assert limit\n            second ="), ("second =", "limit += 1\n            second =")),
        # the release has neither of the neighbours
        (
            ("second =", "assert limit\n            second ="),
            (
                "first = tokens[0]\n            second = tokens[1]\n            third = tokens[2]",
                "first, second, third = tokens",
            ),
        ),
        # the neighbour of what is put in is gone
        (("second =", "assert limit\n            second ="), ("            first = tokens[0]\n", "")),
        # what is changed is gone
        (("tokens[1]", "tokens[1] + limit"), ("            second = tokens[1]\n", "")),
    ],
)
def test_where_they_meet_there_is_no_merge(tmp_path: Path, theirs: tuple[str, str], release: tuple[str, str]) -> None:
    assert of(tmp_path, theirs, release)[0] == "not carried"


def test_what_the_release_has_already_in_its_own_words_is_there(tmp_path: Path) -> None:
    put_in = ("second =", "assert limit > 2, 'too low'\n            second =")
    own = ("first = tokens[0]\n", "first = tokens[-1]\n            assert limit > 2, 'too low'\n")
    assert of(tmp_path, put_in, own)[0] == "already there"


def test_what_reads_an_attribute_that_the_release_computes_otherwise_is_doubted(tmp_path: Path) -> None:
    base = BASE.replace("first = ", "self.first = first = ")
    after = base.replace("tokens[1]", "tokens[1] + self.first")
    result = carried(tmp_path, {RUNNER: base.replace("tokens[0]", "tokens[-1]")}, {RUNNER: base}, {RUNNER: after})
    assert (result.verdict, "reads self.first" in " ".join(result.doubts)) == ("review", True)


def test_what_reads_a_value_that_the_release_computes_otherwise_is_doubted(tmp_path: Path) -> None:
    verdict, _ = of(tmp_path, ("tokens[1]", "tokens[1] + first"), ("tokens[0]", "tokens[-1]"))
    assert verdict == "review"
