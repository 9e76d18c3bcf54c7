"""Tolerances: what passes as rounding, and what is said of the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from ascend_patches import Patch, Rewrite, Variant, always
from ascend_patches.checks.check import declared
from ascend_patches.declaring.tolerance import Tolerance, error_of
from ascend_patches.errors import DeclarationError
from ascend_patches.patches import PATCHES

CLOSE = Tolerance()
ONE = torch.tensor([1.0, -4.0])
TURNED = torch.tensor([0.5 + 1j, 0.25 - 1j])


@dataclass
class Result:
    output: torch.Tensor
    lengths: list[int]


@pytest.mark.parametrize(
    ("original", "patched"),
    [
        pytest.param(ONE, ONE.clone(), id="the same"),
        pytest.param(ONE, ONE + 1e-5, id="rounding of float32"),
        pytest.param(ONE.bfloat16(), ONE.bfloat16() * 1.01, id="rounding of bfloat16"),
        pytest.param(torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf]), id="no numbers"),
        pytest.param(torch.empty(0), torch.empty(0), id="nothing"),
        pytest.param(TURNED, TURNED * (1 + 1e-6), id="rounding of complex numbers"),
        pytest.param(TURNED.conj(), TURNED.conj().resolve_conj(), id="complex numbers that are conjugated lazily"),
        pytest.param(torch.tensor(1j), torch.tensor(1j), id="one complex number"),
        pytest.param({"a": [ONE, None]}, {"a": [ONE, None]}, id="containers"),
        pytest.param(Result(ONE, [1]), Result(ONE, [1]), id="dataclasses"),
        pytest.param(np.arange(3), np.arange(3), id="arrays of numpy"),
        pytest.param(object(), object(), id="objects that say nothing of their value"),
    ],
)
def test_close(original: Any, patched: Any) -> None:
    assert CLOSE.close(original, patched) is None


@pytest.mark.parametrize(
    ("original", "patched", "words"),
    [
        pytest.param(ONE, ONE + 0.1, "off by 0.025 of the largest value, where 1e-05 is rounding", id="a number"),
        pytest.param(ONE, ONE[:1], "shape torch.Size([1]) instead of torch.Size([2])", id="a shape"),
        pytest.param(ONE, ONE.half(), "dtype torch.float16 instead of torch.float32", id="a dtype"),
        pytest.param(torch.tensor([1]), torch.tensor([2]), "off by 1 of", id="an integer"),
        pytest.param(torch.tensor([2**53]), torch.tensor([2**53 + 1]), "off by inf of", id="a large integer"),
        pytest.param(torch.tensor([True, False]), torch.tensor([True, True]), "off by 1 of", id="a truth"),
        pytest.param(TURNED, TURNED.conj(), "off by 2 of the largest value, where 1e-05", id="an imaginary part"),
        pytest.param(ONE, torch.tensor([1.0, math.nan]), "off by inf of", id="no number"),
        pytest.param(ONE, None, "None instead of a tensor [2] of torch.float32", id="nothing"),
        pytest.param({"a": [ONE, 1]}, {"a": [ONE, 2]}, "['a'][1]: 2 instead of 1", id="a part"),
        pytest.param([ONE], (ONE,), "instead of", id="another container"),
        pytest.param(np.arange(3), np.arange(4), "instead of array([0, 1, 2])", id="an array of numpy"),
        pytest.param(np.arange(3), np.zeros(3), "instead of array([0, 1, 2])", id="other values in one"),
        pytest.param(Result(ONE, [1]), Result(ONE + 1, [1]), "['output']: off by", id="a field"),
    ],
)
def test_what_is_different_is_said(original: Any, patched: Any, words: str) -> None:
    assert words in (CLOSE.close(original, patched) or "")


def test_an_error_is_a_share_of_the_largest_magnitude() -> None:
    assert error_of(ONE, ONE + 1) == pytest.approx(0.25)


def test_an_error_of_zeros_is_absolute() -> None:
    assert error_of(torch.zeros(2), torch.full((2,), 0.5)) == 0.5


def test_a_missing_infinity_is_an_infinite_error() -> None:
    assert error_of(torch.tensor([math.inf, 1.0]), ONE) == math.inf


def patch_with(checks: str) -> Patch:
    return Patch("some-patch", "for a test", (Variant("any", always, (Rewrite("a:b", replace="c:d"),)),), checks=checks)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_declares_the_widest_tolerance_of_its_checks(patch: Patch) -> None:
    tolerances = [check.tolerance for check in declared(patch)] or [Tolerance()]
    assert patch.tolerance == Tolerance(*map(max, zip(*tolerances, strict=True)))


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ("no_such_module:CHECKS", "cannot be loaded: ModuleNotFoundError"),
        ("ascend_patches.checks.check:NO_SUCH_NAME", "cannot be loaded: AttributeError"),
        ("ascend_patches.patches:PATCHES", "are not all of the class Check"),
    ],
)
def test_checks_that_are_none_are_named_with_their_patch(checks: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=f"the checks of the patch some-patch, '{checks}', {words}"):
        declared(patch_with(checks))
