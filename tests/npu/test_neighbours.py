"""What is behind a submodule: a replacement's word counts only where a call would run it and nothing else."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

import pytest
import torch
from npu.custom_ops import ApplyRotaryEmb, CustomOp, custom_ops  # noqa: F401

from ascend_patches.npu.neighbours import behind, stands_for

pytestmark = pytest.mark.usefixtures("custom_ops")
WORD = object()


class Op(CustomOp):
    def forward_oot(self, x: torch.Tensor) -> torch.Tensor:
        return x


stands_for(Op.forward_oot, WORD)


def hooked(op: CustomOp) -> None:
    op.register_forward_hook(lambda *_: None)


def hooked_before(op: CustomOp) -> None:
    op.register_forward_pre_hook(lambda *_: None)


def compiled(op: CustomOp) -> None:
    op.compile(backend="eager")


def forward_of_its_own(op: CustomOp) -> None:
    op.forward = lambda x: x  # type: ignore[method-assign, misc]


def bound_to_another(op: CustomOp) -> None:
    op._forward_method = Op().forward_oot


def wrapped(op: CustomOp) -> None:
    # A wrapper has the attributes of what it wraps, and other code.
    method = op._forward_method

    @functools.wraps(Op.forward_oot)
    def around(self: Any, x: torch.Tensor) -> Any:
        return method(x)

    op._forward_method = MethodType(around, op)


def of_no_replacement(op: CustomOp) -> None:
    op._forward_method = MethodType(lambda self, x: x, op)


def test_a_replacement_that_a_call_would_run_is_behind() -> None:
    assert behind(Op()) is WORD


@pytest.mark.parametrize(
    "change", [hooked, hooked_before, compiled, forward_of_its_own, bound_to_another, wrapped, of_no_replacement]
)
def test_anything_else_is_not(change: Any) -> None:
    op = Op()
    change(op)
    assert behind(op) is None


def test_a_class_with_a_forward_of_its_own_is_not() -> None:
    class Other(Op):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    assert behind(Other()) is None


def test_a_module_that_is_no_custom_op_is_not() -> None:
    assert behind(torch.nn.Linear(2, 2)) is None
