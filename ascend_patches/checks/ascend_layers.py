"""The layers that vllm-ascend's worker puts in place of vLLM's when it starts, as far as encoders are built of them."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from ascend_patches.upstream import distributions

_LAYERS = {
    "MMEncoderAttention": "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention",
    "ApplyRotaryEmb": "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb",
    "RMSNorm": "vllm_ascend.ops.layernorm:AscendRMSNorm",
    "SiluAndMul": "vllm_ascend.ops.activation:AscendSiluAndMul",
    "Conv3dLayer": "vllm_ascend.ops.conv:AscendConv3dLayer",
}
_COMPILED = "vllm_ascend.vllm_ascend_C"


def register() -> None:
    """Those that the release has, in a configuration that is current; a name that is taken already stays as it is."""
    registry = importlib.import_module("vllm.model_executor.custom_op")
    taken = getattr(registry, "op_registry_oot", None)
    taken = registry.CustomOp.op_registry_oot if taken is None else taken
    for name, owner in _LAYERS.items():
        module, _, attribute = owner.partition(":")
        if name not in taken and distributions.has_module(module):
            found = getattr(importlib.import_module(module), attribute)
            registry.CustomOp.register_oot(_decorated_op_cls=found, name=name)
    _without_prefetching()
    if not distributions.has_module(_COMPILED):
        _without_compiled_part()


def _without_prefetching() -> None:
    """What a worker decides when it starts, and layers of 0.15 to 0.23 ask for."""
    utils = importlib.import_module("vllm_ascend.utils")
    if hasattr(utils, "set_weight_prefetch_method"):
        # It would look for experts in the model's configuration, which is not there; the answer is kept.
        no_experts = SimpleNamespace(model_config=SimpleNamespace(hf_text_config=SimpleNamespace(to_dict=dict)))
        utils.is_moe_model(no_experts)
        config = importlib.import_module("vllm_ascend.ascend_config")
        utils.set_weight_prefetch_method(config.WeightPrefetchConfig({}))


@cache
def _without_compiled_part() -> list[torch.library.Library]:
    """A release may be here without it: its norms take the op of torch_npu then, as before 0.28 by themselves."""
    # Asked for now, it is missed once and for all; later releases import it regardless.
    importlib.import_module("vllm_ascend.utils").enable_custom_op()
    sys.modules.setdefault(_COMPILED, ModuleType(_COMPILED))
    library = torch.library.Library("_C_ascend", "FRAGMENT")
    library.define(
        "npu_add_rms_norm_bias(Tensor x1, Tensor x2, Tensor gamma, Tensor? beta=None, float epsilon=1e-06) -> "
        "(Tensor, Tensor, Tensor)"
    )
    library.impl("npu_add_rms_norm_bias", _add_rms_norm_bias, "CompositeImplicitAutograd")
    return [library]


def _add_rms_norm_bias(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor | None = None, epsilon: float = 1e-6
) -> Any:
    import torch_npu

    normed, scale, total = torch_npu.npu_add_rms_norm(x1, x2, gamma, epsilon)
    return (normed if beta is None else normed + beta), scale, total
