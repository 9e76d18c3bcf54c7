"""Submodules called directly: what a call of them would give, whatever is on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ascend_patches.npu import direct_calls
from ascend_patches.npu.direct_calls import Direct, call
from ascend_patches.npu.encoder_call import encoder_call


def hooked(module: torch.nn.Module) -> None:
    module.register_forward_hook(lambda _module, _given, output: output * 2)


def hooked_before(module: torch.nn.Module) -> None:
    module.register_forward_pre_hook(lambda _module, given: (given[0] * 2,))


def forward_of_its_own(module: Any) -> None:
    module.forward = lambda x: x * 3


def compiled(module: torch.nn.Module) -> None:
    module._compiled_call_impl = lambda x: x * 3  # type: ignore[assignment]


def other_weight(module: torch.nn.Module) -> None:
    module.weight = torch.nn.Parameter(torch.full((4,), 5.0))


@pytest.mark.parametrize("change", [None, hooked, hooked_before, forward_of_its_own, compiled, other_weight])
def test_a_norm_gives_what_a_call_of_it_gives(change: Any) -> None:
    norm, x = torch.nn.LayerNorm(4), torch.arange(8.0).view(2, 4)
    direct = Direct()
    direct.norm(norm, x)
    if change is not None:
        change(norm)
    assert torch.equal(direct.norm(norm, x), norm(x))
    assert torch.equal(call(norm, x), norm(x))


def test_a_linear_layer_of_unknown_code_is_called() -> None:
    linear, x = torch.nn.Linear(4, 2), torch.ones(3, 4)
    assert torch.equal(Direct().linear(linear, x), linear(x))


def test_outside_of_an_encoder_call_modules_are_called_as_ever() -> None:
    assert direct_calls.direct_calls() is None
    with encoder_call():
        assert direct_calls.settled() is None
        assert direct_calls.direct_calls() is direct_calls.settled() is not None
    assert direct_calls.settled() is None


def test_a_global_hook_sees_every_module() -> None:
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with encoder_call():
            assert direct_calls.direct_calls() is None
    finally:
        handle.remove()
