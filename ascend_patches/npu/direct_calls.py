"""Submodules called for what they compute, without what torch and vLLM do around that where it comes to nothing.

A module without hooks that is not compiled runs its forward and nothing else; a linear layer of one rank without
quantisation is torch's linear, and a layer norm is torch's. Each module is looked at in every call, because hooks,
weights and methods may change between two; what goes for a class is settled once per encoder call.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional

from ascend_patches.basics.recording import being_recorded
from ascend_patches.npu.encoder_call import CALLS
from ascend_patches.npu.known_layers import (
    Mlp,
    chosen_by_itself,
    forward_is_known,
    layer_norm_is_torchs,
    mlp_of,
    multiplies_plainly,
)
from ascend_patches.npu.neighbours import hooked_everywhere

_CALL = torch.nn.Module.__call__
_SETTLED = ("direct calls",)


class Direct:
    """How the submodules of one encoder call are called."""

    def __init__(self) -> None:
        self._linears: dict[type, bool] = {}
        self._methods: dict[tuple[type, Any], bool] = {}
        self._mlps: dict[type, Mlp | None] = {}
        self._norms: dict[type, bool] = {}

    def linear(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What a linear layer makes of x, without the bias that some give back beside it."""
        own, kind = module.__dict__, type(module)
        if not _bare(own, kind):
            return _output(module(x))
        known = self._linears.get(kind)
        if known is None:
            known = self._linears[kind] = forward_is_known(kind)
        if known and own["tp_size"] == 1 and not own["skip_bias_add"] and own.get("custom_op") is None:
            parameters = own["_parameters"]
            weight = parameters.get("weight")
            if weight is not None and "bias" in parameters and "forward" not in own and self._is_plain(own):
                return torch.nn.functional.linear(x, weight, parameters["bias"])
        return _output(module.forward(x))

    def norm(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What a norm makes of x alone."""
        own, kind = module.__dict__, type(module)
        if not _bare(own, kind):
            return module(x)
        known = self._norms.get(kind)
        if known is None:
            known = self._norms[kind] = layer_norm_is_torchs(kind)
        if not known or "forward" in own:
            return module.forward(x)
        parameters = own["_parameters"]
        return torch.layer_norm(x, own["normalized_shape"], parameters["weight"], parameters["bias"], own["eps"])

    def mlp(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What two linear layers and an activation between them make of x."""
        own, kind = module.__dict__, type(module)
        if not _bare(own, kind):
            return module(x)
        try:
            names = self._mlps[kind]
        except KeyError:
            names = self._mlps[kind] = mlp_of(kind)
        if names is None or "forward" in own:
            return module.forward(x)
        parts = own["_modules"]
        inner, between = self.linear(parts[names.first], x), parts.get(names.activation)
        # Some activations are functions.
        activated = call(between, inner) if between is not None else getattr(module, names.activation)(inner)
        return self.linear(parts[names.second], activated)

    def _is_plain(self, own: dict[str, Any]) -> bool:
        method = own["quant_method"]
        chosen_by = type(method), chosen_by_itself(method)
        known = self._methods.get(chosen_by)
        if known is None:
            known = self._methods[chosen_by] = multiplies_plainly(method)
        return known and "apply" not in method.__dict__


def call(module: Any, *args: Any, **kwargs: Any) -> Any:
    """A module called, without what torch does around its forward where there is nothing to do."""
    return (module.forward if _bare(module.__dict__, type(module)) else module)(*args, **kwargs)


def settled() -> Direct | None:
    """How the submodules of this encoder call are called, if that was asked for in it already."""
    found: Direct | None = CALLS.open[-1].buffers.get(_SETTLED) if CALLS.open else None
    return found


def direct_calls() -> Direct | None:
    """The same, asked for from now on; None where modules are to be called as ever.

    That is outside of encoder calls, while Python is recorded, and where a global hook has to see every module.
    """
    if torch.compiler.is_compiling() or not CALLS.open:
        return None
    buffers = CALLS.open[-1].buffers
    if _SETTLED not in buffers:
        as_ever = being_recorded() or hooked_everywhere() or torch._C._get_tracing_state() is not None
        buffers[_SETTLED] = None if as_ever else Direct()
    found: Direct | None = buffers[_SETTLED]
    return found


def _bare(own: dict[str, Any], kind: Any) -> bool:
    """Whether a call of a module with these attributes runs its forward and nothing else."""
    return (
        not own["_forward_hooks"]
        and not own["_forward_pre_hooks"]
        and not own["_backward_hooks"]
        and not own["_backward_pre_hooks"]
        and own.get("_compiled_call_impl") is None
        and kind.__call__ is _CALL
    )


def _output(given: Any) -> torch.Tensor:
    """Of a linear layer that may give back its bias as well."""
    output: torch.Tensor = given[0] if isinstance(given, tuple) else given
    return output
