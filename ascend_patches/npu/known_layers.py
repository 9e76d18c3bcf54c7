"""Which layers of upstream amount to a few calls of torch's, by the code that they run.

Nothing is believed of a name: a layer counts only if each function that its call would run has code that was read. A
linear layer's adds nothing with one rank, no quantisation and no operation of a communication group. Layers with other
code, of a release or of another party, are called as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum, auto
from functools import cache
from typing import Any, NamedTuple

import torch.nn.functional

from ascend_patches.upstream.fingerprints import of_function, plain_function

# Each is the fingerprint of a function, and the releases that have it.
_LAST_FORWARDS = frozenset(
    {
        # ColumnParallelLinear.forward
        "5d430110c75eff9b",  # vLLM 0.13
        "f880096500233dac",  # 0.14 to 0.20
        "71b51d4ba92e3d98",  # from 0.21
        # RowParallelLinear.forward
        "9b116451046f5b77",  # 0.13
        "4a850a2ec9b74b7f",  # 0.14 to 0.17
        "beda9700a78dadf2",  # 0.18 to 0.20
        "57b616d199d8f980",  # from 0.21
    }
)
_FORWARDS_IN_FRONT = frozenset(
    {
        # AscendColumnParallelLinear.forward, AscendMergedColumnParallelLinear.forward, AscendQKVParallelLinear.forward
        "de119b518152bf5a",  # vllm-ascend 0.13 and 0.14
        "ffa64ee150b09cf0",  # from 0.15
        # AscendRowParallelLinear.forward
        "f60af357bc71cc87",  # 0.13 and 0.14
        "b04ee4d6caa99a75",  # from 0.15
    }
)
_APPLIES_TO_DISPATCHED = frozenset(
    {
        # UnquantizedLinearMethod.apply
        "a86bf17062e019fd",  # vLLM 0.13 to 0.15
        "18ff914a325dfc77",  # 0.16
        "e431dc0f56a6a967",  # 0.17 and 0.18
        "2af7c56d9a3c57d5",  # 0.19 to 0.28
        "9a1cd1abc9120879",  # 0.29
        "99250a8b4d3ec265",  # from 0.30
    }
)
_DISPATCHED = frozenset(
    {
        "193fa118237b78f6",  # default_unquantized_gemm of vLLM
        "9d8436b89517e8d0",  # that of vllm-ascend 0.14 to 0.18, which calls its own operator
    }
)
_APPLIES_TO_THE_OPERATOR = frozenset(
    {
        "9390916a33018baa",  # AscendUnquantizedLinearMethod.apply, from vllm-ascend 0.19
    }
)
_OPERATORS = frozenset(
    {
        "f6c17cb54b6e8dca",  # unquantized_gemm of vllm-ascend
    }
)
_FORWARDS_OF_CUSTOM_OPS = frozenset(
    {
        "e269c6b17ff5bd19",  # CustomOp.forward, vLLM 0.13 to 0.33
    }
)
_FUNCTIONS_OF_PARAMETERS = frozenset(
    {
        "8e719aa52c4e47cb",  # BasevLLMParameter.__torch_function__, vLLM 0.13 to 0.33
    }
)
CHOSEN = "_gemm_impl"
"""What a method multiplies with, where it chose that when it was made: from vLLM 0.29 on."""


class Runs(Enum):
    """What a call of a module without hooks runs."""

    FORWARD = auto()
    METHOD = auto()
    """Its ``_forward_method`` and nothing else, as vLLM's custom ops do."""
    MORE = auto()
    """Something of another party's."""


class Mlp(NamedTuple):
    """What an MLP calls its two linear layers, and what it has between them."""

    first: str
    activation: str
    second: str

    @property
    def linear(self) -> frozenset[str]:
        return frozenset((self.first, self.second))


_MLPS = {
    "5a35e73b7814b798": Mlp("linear_fc1", "act_fn", "linear_fc2"),  # Qwen3-VL and Qwen3-Omni
    "b0c28e6c62027fc4": Mlp("gate_up_proj", "act_fn", "down_proj"),  # Qwen2.5-VL
    "1c913fb9477c4ecf": Mlp("gate_up_proj", "act_fn", "down_proj"),  # GLM-4.1V
    "83a98540675bc8da": Mlp("fc1", "act", "fc2"),  # Qwen2-VL
    "749a793bdb7faf4e": Mlp("fc0", "activation", "fc1"),  # Kimi-K2.5
}


def what_a_call_runs(kind: Any) -> Runs:
    """What calls of a class's instances come to, if they have no hooks and nothing of their own in its place."""
    module = torch.nn.Module
    if kind.__call__ is not module.__call__ or kind._call_impl is not module._call_impl:
        return Runs.MORE
    if not all(_is_of(each, "torch.nn.modules.module") for each in (module.__call__, module._call_impl)):
        return Runs.MORE
    return Runs.METHOD if _fingerprint(kind.forward) in _FORWARDS_OF_CUSTOM_OPS else Runs.FORWARD


def hands_on(kind: Any) -> bool:
    """Whether tensors of a class see the operators that they are given to, and do nothing but hand them on to torch."""
    if kind.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl:
        return False
    for each in kind.__mro__:
        function = each.__dict__.get("__torch_function__")
        if function is torch._C._disabled_torch_function_impl:
            return True
        if function is not None and _fingerprint(getattr(function, "__func__", None)) not in _FUNCTIONS_OF_PARAMETERS:
            return False
    return False


def forward_is_known(kind: type) -> bool:
    """Whether instances of a class hand their input to their method of quantisation, and add nothing with one rank."""
    if hasattr(kind, "weight") or hasattr(kind, "bias"):
        return False
    for each in kind.__mro__:
        forward = each.__dict__.get("forward")
        if forward is None:
            continue
        code = _fingerprint(forward)
        if code not in _FORWARDS_IN_FRONT:
            return code in _LAST_FORWARDS
    return False


def multiplies_plainly(method: Any) -> bool:
    """Whether a layer's method of quantisation is none: torch's linear, of the weight as it is."""
    apply = type(method).apply
    if "apply" in method.__dict__:
        return False
    code = _fingerprint(apply)
    if code in _APPLIES_TO_THE_OPERATOR:
        return _fingerprint(apply.__globals__.get("unquantized_gemm")) in _OPERATORS
    if code not in _APPLIES_TO_DISPATCHED or not apply.__globals__["current_platform"].is_out_of_tree():
        return False
    chosen = method.__dict__.get(CHOSEN) or apply.__globals__["dispatch_unquantized_gemm"]()
    of_operator = getattr(chosen, "__globals__", {}).get("unquantized_gemm")
    return _fingerprint(chosen) in _DISPATCHED and (of_operator is None or _fingerprint(of_operator) in _OPERATORS)


def mlp_of(kind: Any) -> Mlp | None:
    """What instances of a class call their parts, if their forward is to call these one after the other."""
    found = _MLPS.get(_fingerprint(kind.forward) or "")
    return found if found is not None and not any(hasattr(kind, name) for name in found) else None


def layer_norm_is_torchs(kind: Any) -> bool:
    """Whether instances of a class are layer norms as torch has them."""
    forward, function = torch.nn.LayerNorm.forward, torch.nn.functional.layer_norm
    # Either may be another party's.
    return (
        what_a_call_runs(kind) is Runs.FORWARD
        and not any(hasattr(kind, name) for name in ("weight", "bias"))
        and kind.forward is forward
        and _is_of(forward, "torch.nn.modules.normalization")
        and _is_of(function, "torch.nn.functional")
    )


def _is_of(function: Any, module: str) -> bool:
    return getattr(getattr(function, "__code__", None), "co_filename", None) == sys.modules[module].__file__


@cache
def _fingerprint(function: Callable[..., Any] | None) -> str | None:
    """Of the very function, not of what it wraps."""
    return of_function(function) if function is not None and plain_function(function) is function else None
