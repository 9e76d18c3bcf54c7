"""The judgement of a case: what upstream and the patched code gave, against float64 and against each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from ascend_patches.checks import Call, Check, Tolerance, runner
from ascend_patches.declaring.gates import always

RIGHT = torch.tensor([1.0, 2.0, 4.0])
NEARLY = RIGHT * (1 + 1e-6)
WRONG = RIGHT.flip(0)


def _given(call: Call, device: Any) -> Call:
    return call


def outcome(original: Any, patched: Any, *, exact: torch.Tensor | None = RIGHT, **more: Any) -> runner.Outcome:
    """A case in which the two sides give these, or raise them."""
    sides = []
    for result in (original, patched):
        call = Call(giving(result), giving(exact) if exact is not None else None)
        check = Check("case", partial(_given, call), **more)
        case = runner.Case("patch", check, "float32")
        sides += runner.sides([case], exact=True)
    return runner.compared([case], sides[:1], sides[1:])[0]


def giving(result: Any) -> Callable[[], Any]:
    def give() -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    return give


class TestBitwise:
    def test_the_same_bits_pass(self) -> None:
        assert outcome(RIGHT, RIGHT.clone()).problem == ""

    def test_other_bits_do_not_however_near_they_are(self) -> None:
        assert "not the bits of upstream: off by" in outcome(RIGHT, NEARLY).problem

    def test_another_sign_of_zero_is_another_bit(self) -> None:
        assert outcome(torch.zeros(1), -torch.zeros(1), exact=None).problem

    def test_another_form_is_told(self) -> None:
        assert "[1, 3] of torch.float32 instead of [3]" in outcome(RIGHT, RIGHT[None]).problem

    def test_a_missing_output_is_told(self) -> None:
        said = outcome({"a": RIGHT, "b": RIGHT}, {"a": RIGHT}, exact=None).problem
        assert "it gives ['a'] instead of ['a', 'b']" in said

    def test_the_worst_output_is_named(self) -> None:
        said = outcome({"a": RIGHT, "b": RIGHT}, {"a": NEARLY, "b": WRONG}, exact=None).problem
        assert "b is off by 0.75" in said

    def test_what_upstream_does_and_the_patch_refuses_is_a_difference(self) -> None:
        assert outcome(RIGHT, ValueError("no")).problem == "the patched code raises ValueError: no"

    def test_what_upstream_refuses_has_to_be_declared_on_the_emulated_device(self) -> None:
        assert outcome(ValueError("no"), ValueError("no")).problem.startswith("cannot be run, patched or not")


class TestNear:
    def test_rounding_passes(self) -> None:
        assert outcome(RIGHT, NEARLY, bitwise=~always).problem == ""

    def test_more_than_rounding_does_not(self) -> None:
        said = outcome(RIGHT, WRONG, bitwise=~always).problem
        assert said == "off by 0.75 of the largest value from float64, where 1e-05 is allowed"

    def test_as_far_as_upstream_passes(self) -> None:
        assert outcome(WRONG, WRONG.clone(), bitwise=~always).problem == ""

    def test_without_float64_upstream_is_the_measure(self) -> None:
        assert outcome(RIGHT, NEARLY, exact=None, bitwise=~always).problem == ""
        assert "off by 0.75" in outcome(RIGHT, WRONG, exact=None, bitwise=~always).problem


class TestMended:
    def test_what_upstream_refuses_or_has_wrong_may_change(self) -> None:
        assert outcome(ValueError("no"), RIGHT, mended=always).problem == ""
        assert outcome(WRONG, RIGHT, mended=always).problem == ""

    def test_what_the_patch_gives_has_to_be_right(self) -> None:
        assert "from float64" in outcome(ValueError("no"), WRONG, mended=always).problem

    def test_upstreams_error_is_no_measure(self) -> None:
        assert "from float64" in outcome(WRONG, WRONG.clone(), mended=always).problem

    def test_the_patch_has_to_give_something(self) -> None:
        assert "the patched code raises" in outcome(ValueError("no"), ValueError("no"), mended=always).problem


class TestACheckThatIsWrongItself:
    """It is named as a difference of its case; the other cases are run."""

    @pytest.mark.parametrize("exact", [None, 1.5, {"a": [1.0]}], ids=["nothing", "a number", "a list"])
    def test_a_float64_result_that_is_no_tensor(self, exact: Any) -> None:
        sides = self.sides(Call(giving(RIGHT), giving(exact)))
        assert self.problem(sides).startswith("its check gives no float64 result: TypeError: the output ")

    def test_a_float64_result_that_raises(self) -> None:
        sides = self.sides(Call(giving(RIGHT), giving(ValueError("no weights\nat all"))))
        assert self.problem(sides) == "its check gives no float64 result: ValueError: no weights"

    def test_inputs_that_cannot_be_made(self) -> None:
        assert self.problem(self.sides(KeyError("seed"))) == "its check cannot be prepared: KeyError: 'seed'"

    def test_something_else_than_a_call(self) -> None:
        assert self.problem(self.sides(3)) == "its check cannot be prepared: TypeError: prepare gives int and no Call"

    def sides(self, prepared: Any) -> tuple[runner.Case, list[runner.Side]]:
        case = runner.Case("patch", Check("case", lambda _: giving(prepared)()), "float32")
        return case, runner.sides([case], exact=True) + runner.sides([case], exact=False)

    def problem(self, made: tuple[runner.Case, list[runner.Side]]) -> str:
        case, (original, patched) = made
        return runner.compared([case], [original], [patched])[0].problem


def test_the_tolerance_is_that_of_the_dtype() -> None:
    assert outcome(RIGHT, WRONG, bitwise=~always, tolerance=Tolerance(float32=0.8)).problem == ""


def test_an_output_that_is_kept_and_written_again_is_not_taken_for_another() -> None:
    buffer = torch.zeros(3)
    kept = runner.sides([runner.Case("patch", Check("case", lambda _: Call(lambda: buffer)), "float32")], exact=False)
    buffer += 1
    assert kept[0].outputs[""].tolist() == [0, 0, 0]


def test_a_result_that_goes_wrong_in_the_second_call_is_seen() -> None:
    calls = iter([RIGHT, WRONG])
    check = Check("case", lambda _: Call(lambda: next(calls)))
    (side,) = runner.sides([runner.Case("patch", check, "float32")], exact=False)
    assert torch.equal(side.outputs[""], WRONG)


def test_what_a_call_asks_of_the_device_is_counted() -> None:
    tensor = RIGHT.to("npu")
    check = Check("case", lambda _: Call(lambda: tensor.view(3, 1) + 1))
    (side,) = runner.sides([runner.Case("patch", check, "float32")], exact=False)
    assert side.counts is not None
    assert (side.counts.copies, side.counts.waits, side.counts.kernels, side.counts.dispatches) == (0, 0, 1, 2)


@pytest.mark.parametrize("holds", [True, False])
def test_cases_are_those_of_the_release(holds: bool) -> None:
    check = Check("case", lambda _: Call(lambda: RIGHT), where=always if holds else ~always)
    assert [str(case) for case in runner.cases_of("patch", [check])] == (
        ["patch: case, float32", "patch: case, bfloat16"] if holds else []
    )
