"""Submodules called for what they compute, without what torch and vLLM do around that where it comes to nothing.

A module without hooks that is not compiled runs its forward and nothing else; a linear layer of one rank without
quantisation is torch's linear, and a layer norm is torch's. Each module is looked at in every call, because hooks,
weights and methods may change between two; what goes for a class is settled once per encoder call.
"""

from __future__ import annotations

from enum import Enum, auto
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional

from ascend_patches.basics.recording import being_recorded
from ascend_patches.npu.encoder_call import CALLS
from ascend_patches.npu.known_layers import (
    CHOSEN,
    Mlp,
    Runs,
    forward_is_known,
    hands_on,
    layer_norm_is_torchs,
    mlp_of,
    multiplies_plainly,
    what_a_call_runs,
)
from ascend_patches.npu.neighbours import hooked_everywhere

_SETTLED = ("direct calls",)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_hooks_of = itemgetter(*_HOOKS)
_NO_HOOKS: tuple[Any, ...] = ({}, {}, {}, {})
_linear_of = itemgetter(*_HOOKS, "tp_size", "tp_rank", "skip_bias_add")
_ON_ONE_RANK = (*_NO_HOOKS, 1, 0, False)
_weight_and_bias_of = itemgetter("weight", "bias")
_INSTEAD = frozenset({"forward", "_call_impl", "_compiled_call_impl"})
"""What an instance may have of its own in place of its class's."""
_AFFINE = frozenset({"weight", "bias"})
_INSTEAD_OF_LINEAR = _INSTEAD | _AFFINE


_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
"""The classes of what torch computes with as it is."""
_PLAIN_OR_NONE = _PLAIN | {type(None)}
_SEES = "__torch_function__"
_unseen_by_classes = torch._C.DisableTorchFunctionSubclass


class Product(Enum):
    """What a linear layer amounts to."""

    PLAIN = auto()
    """One of torch's functions."""
    HANDED_ON = auto()
    """The same, of a weight whose class sees it and does nothing but hand it on to torch."""
    ANOTHER = auto()


class Direct:
    """How the submodules of one encoder call are called."""

    def __init__(self) -> None:
        self._runs: dict[type, Runs] = {}
        self._linears: dict[type, bool] = {}
        self._products: dict[tuple[Any, ...], Product] = {}
        self._norms: dict[tuple[type, ...], bool] = {}
        self._mlps: dict[type, Mlp | None] = {}

    def call(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        """A module called, without what torch does around its forward where there is nothing to do."""
        own, kind = module.__dict__, type(module)
        runs = self._runs.get(kind)
        if runs is None:
            runs = self._runs[kind] = what_a_call_runs(kind)
        if runs is Runs.MORE or _hooks_of(own) != _NO_HOOKS or not own.keys().isdisjoint(_INSTEAD):
            return module(*args, **kwargs)
        return own["_forward_method"](*args, **kwargs) if runs is Runs.METHOD else module.forward(*args, **kwargs)

    def linear(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What a linear layer makes of x, without the bias that some give back beside it."""
        own, kind = module.__dict__, type(module)
        known = self._linears.get(kind)
        if known is None:
            known = self._linears[kind] = forward_is_known(kind) and what_a_call_runs(kind) is Runs.FORWARD
        product = Product.ANOTHER
        try:
            if known and _linear_of(own) == _ON_ONE_RANK and own.get("custom_op") is None:
                weight, bias = _weight_and_bias_of(own["_parameters"])
                method = own["quant_method"]
                of_method = method.__dict__
                key = (type(x), type(weight), type(bias), type(method), of_method.get(CHOSEN))
                product = self._products.get(key) or self._settled_product(key, method)
                if "apply" in of_method or not own.keys().isdisjoint(_INSTEAD_OF_LINEAR):
                    product = Product.ANOTHER
                elif product is Product.HANDED_ON and _SEES in weight.__dict__:
                    # It would be called as that of its class is.
                    product = Product.ANOTHER
        except (KeyError, AttributeError):
            product = Product.ANOTHER
        if product is Product.PLAIN:
            return torch.nn.functional.linear(x, weight, bias)
        if product is Product.HANDED_ON:
            with _unseen_by_classes():
                return torch.nn.functional.linear(x, weight, bias)
        given = self.call(module, x)
        output: torch.Tensor = given[0] if isinstance(given, tuple) else given
        return output

    def _settled_product(self, key: tuple[Any, ...], method: Any) -> Product:
        of_x, of_weight, of_bias = key[:3]
        product = Product.ANOTHER
        if of_x is torch.Tensor and of_bias in _PLAIN_OR_NONE and multiplies_plainly(method):
            if of_weight in _PLAIN:
                product = Product.PLAIN
            elif hands_on(of_weight):
                product = Product.HANDED_ON
        self._products[key] = product
        return product

    def norm(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What a norm makes of x alone."""
        own, kind = module.__dict__, type(module)
        parameters = own["_parameters"]
        key = (kind, type(x), type(parameters.get("weight")), type(parameters.get("bias")))
        known = self._norms.get(key)
        if known is None:
            known = self._norms[key] = layer_norm_is_torchs(kind) and _PLAIN_OR_NONE.issuperset(key[1:])
        is_torchs = known and _hooks_of(own) == _NO_HOOKS and own.keys().isdisjoint(_INSTEAD_OF_LINEAR)
        if not is_torchs or not parameters.keys() >= _AFFINE:
            return self.call(module, x)
        return torch.layer_norm(x, own["normalized_shape"], parameters["weight"], parameters["bias"], own["eps"])

    def mlp(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What two linear layers and an activation between them make of x."""
        own, kind = module.__dict__, type(module)
        try:
            names = self._mlps[kind]
        except KeyError:
            names = self._mlps[kind] = mlp_of(kind) if what_a_call_runs(kind) is Runs.FORWARD else None
        if names is None or _hooks_of(own) != _NO_HOOKS or not own.keys().isdisjoint(_INSTEAD):
            return self.call(module, x)
        parts = own["_modules"]
        first, between, second = (parts.get(name) for name in names)
        if first is None or second is None or not own.keys().isdisjoint(names.linear):
            return self.call(module, x)
        inner = self.linear(first, x)
        # Some activations are functions.
        is_part = between is not None and names.activation not in own
        activated = self.call(between, inner) if is_part else getattr(module, names.activation)(inner)
        return self.linear(second, activated)


def settled() -> Direct | None:
    """How the submodules of this encoder call are called, if that was asked for in it already."""
    found: Direct | None = CALLS.open[-1].buffers.get(_SETTLED) if CALLS.open else None
    return None if found is None or _watched() else found


def direct_calls() -> Direct | None:
    """The same, asked for from now on; None where modules are to be called as ever.

    That is outside of encoder calls, while Python is recorded, and where something sees every module or operator.
    """
    if torch.compiler.is_compiling() or not CALLS.open:
        return None
    buffers = CALLS.open[-1].buffers
    if _SETTLED not in buffers:
        as_ever = being_recorded() or hooked_everywhere() or torch._C._get_tracing_state() is not None
        buffers[_SETTLED] = None if as_ever else Direct()
    found: Direct | None = buffers[_SETTLED]
    return None if found is None or _watched() else found


def _watched() -> bool:
    """Whether operators are seen on their way, or changed: by gradients, a mode of torch's, or automatic types."""
    seen: bool = (
        torch.is_grad_enabled()
        or torch._C._len_torch_function_stack() > 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._is_any_autocast_enabled()
    )
    return seen
