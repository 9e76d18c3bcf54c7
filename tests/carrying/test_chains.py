"""Earlier changes of one function after which a later one can be merged: the smallest sets of them."""

from __future__ import annotations

from ascend_patches.carrying.chains import Row, Step, leading_to, row

PATH = "one"
RELEASE = "def one(x):\n    a = x\n    b = a\n    c = b\n    return c\n"
FIRST = RELEASE.replace("a = x\n", "a = x + 1\n")
SECOND = FIRST.replace("c = b\n", "c = b * 2\n")
THIRD = SECOND.replace("a = x + 1\n", "a = x + 2\n")


def statements(text: str | None) -> Row:
    return row(text, PATH)


def step(sha: str, before: str | None, after: str) -> Step:
    return Step(sha, statements(before), statements(after))


STEPS = [step("first", RELEASE, FIRST), step("second", FIRST, SECOND)]


def test_one_of_several_is_enough() -> None:
    assert leading_to(step("third", SECOND, THIRD), STEPS, statements(RELEASE), 3) == [("first",)]


def test_a_step_upon_another_needs_both() -> None:
    fourth = THIRD.replace("x + 2", "x + 3")
    steps = [*STEPS, step("third", SECOND, THIRD)]
    assert leading_to(step("fourth", THIRD, fourth), steps, statements(RELEASE), 3) == [("first", "third")]
    assert leading_to(step("fourth", THIRD, fourth), steps, statements(RELEASE), 1) == []


def test_a_function_that_is_not_there_needs_the_step_that_adds_it() -> None:
    steps = [step("added", None, RELEASE), *STEPS]
    assert leading_to(step("third", SECOND, THIRD), steps, None, 3) == [("added", "first")]


def test_none_is_enough_where_the_release_went_its_own_way() -> None:
    own = statements(RELEASE.replace("a = x\n", "a = -x\n"))
    assert leading_to(step("third", SECOND, THIRD), STEPS, own, 3) == []
