"""Submodules called directly: what a call of them would give, whatever is on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.utils.parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ascend_patches.npu import direct_calls
from ascend_patches.npu.direct_calls import Direct
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.known_layers import hands_on


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
    assert torch.equal(direct.call(norm, x), norm(x))


def test_a_linear_layer_of_unknown_code_is_called() -> None:
    linear, x = torch.nn.Linear(4, 2), torch.ones(3, 4)
    assert torch.equal(Direct().linear(linear, x), linear(x))


@torch.no_grad()
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


class Seeing(torch.Tensor):
    """A tensor whose class sees what is computed with it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {})) + 1


class Counting(TorchDispatchMode):  # type: ignore[misc]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Noting(TorchFunctionMode):  # type: ignore[misc]
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def seeing_weight(norm: Any) -> None:
    norm._parameters["weight"] = torch.ones(4).as_subclass(Seeing)


def weight_in_front(norm: Any) -> None:
    norm.__dict__["weight"] = torch.full((4,), 5.0)


def no_weight(norm: Any) -> None:
    del norm.weight
    norm.weight = torch.full((4,), 5.0)


def parametrized(norm: Any) -> None:
    class Doubling(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * 2

    torch.nn.utils.parametrize.register_parametrization(norm, "weight", Doubling())


def called_otherwise(norm: Any) -> None:
    kind = type(norm)
    norm.__class__ = type("Other", (kind,), {"__call__": lambda self, x: kind.__call__(self, x) * 2})


def own_call(norm: Any) -> None:
    plain = norm._call_impl
    norm._call_impl = lambda *args: plain(*args) * 2


@pytest.mark.parametrize(
    "change", [seeing_weight, weight_in_front, no_weight, parametrized, called_otherwise, own_call]
)
@torch.no_grad()
def test_a_norm_that_is_not_what_it_seems_is_called(change: Any) -> None:
    norm, x = torch.nn.LayerNorm(4), torch.arange(8.0).view(2, 4)
    direct = Direct()
    direct.norm(norm, x)
    before = norm(x)
    change(norm)
    assert torch.equal(direct.norm(norm, x), norm(x))
    assert torch.equal(direct.call(norm, x), norm(x))
    assert not torch.equal(norm(x), before)


@torch.no_grad()
def test_a_norm_without_weights_and_one_given_a_tensor_that_sees_functions() -> None:
    norm, x = torch.nn.LayerNorm(4, elementwise_affine=False), torch.arange(8.0).view(2, 4)
    seen = x.as_subclass(Seeing)
    assert torch.equal(Direct().norm(norm, x), norm(x))
    assert torch.equal(Direct().norm(norm, seen).as_subclass(torch.Tensor), norm(seen).as_subclass(torch.Tensor))


@pytest.mark.parametrize(
    "watching", [Counting, Noting, torch.enable_grad, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
)
@torch.no_grad()
def test_what_watches_operators_sees_those_of_the_release(watching: Any) -> None:
    with encoder_call():
        assert direct_calls.direct_calls() is not None
        with watching():
            assert direct_calls.direct_calls() is direct_calls.settled() is None
        assert direct_calls.direct_calls() is direct_calls.settled() is not None


def test_classes_that_do_nothing_but_hand_operators_on_are_known() -> None:
    class Parameter(torch.nn.Parameter):
        pass

    class Dispatching(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise NotImplementedError

    assert all(map(hands_on, (torch.nn.Parameter, Parameter)))
    assert not any(map(hands_on, (Seeing, Dispatching)))


def test_modules_that_another_party_calls_otherwise_are_called_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = torch.nn.Module.__call__
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda self, *args: plain(self, *args) * 2)
    norm, x = torch.nn.LayerNorm(4), torch.arange(8.0).view(2, 4)
    assert torch.equal(Direct().norm(norm, x), plain(norm, x) * 2)
    assert torch.equal(Direct().call(norm, x), plain(norm, x) * 2)
