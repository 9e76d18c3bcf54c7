"""What a model of a release expects around it: a configuration, a world of one process, and an NPU."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch._dynamo
import torch.nn.functional

from ascend_patches import distributions, emulated_npu
from ascend_patches.emulated_npu._ops._state import STATE

_ATTENTION = (
    "vllm.model_executor.layers.attention.mm_encoder_attention",
    "vllm.attention.layers.mm_encoder_attention",
)
_OF_ASCEND = {
    "MMEncoderAttention": "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention",
    "ApplyRotaryEmb": "vllm_ascend.ops.rotary_embedding:AscendApplyRotaryEmb",
}


# Compiled ops of vLLM that layers look up when they are built; the releases' compiled parts are not loaded here.
_LOOKED_UP = ("gelu_quick", "silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul")
_LIBRARY = torch.library.Library("_C", "FRAGMENT")


def with_vllm_ascend() -> bool:
    return distributions.has_module("vllm_ascend")


def enter() -> None:
    """Make this process one that encoders can be built in; more than once is as once."""
    if not emulated_npu.installed():
        emulated_npu.install(allow_float32=True)
    # Where the runner has installed the ops already they are as strict as real ones; exact comparisons want float32.
    STATE.allow_float32 = True
    # Some models compile a function of theirs, and no compiler makes code for an emulated device.
    torch._dynamo.config.disable = True
    for op in _LOOKED_UP:
        if not hasattr(torch.ops._C, op):
            _LIBRARY.define(f"{op}(Tensor! out, Tensor input) -> ()")
    registry = importlib.import_module("vllm.model_executor.custom_op")
    taken = getattr(registry, "op_registry_oot", None)
    taken = registry.CustomOp.op_registry_oot if taken is None else taken
    if with_vllm_ascend():
        for name, owner in _OF_ASCEND.items():
            module, _, attribute = owner.partition(":")
            found = getattr(importlib.import_module(module), attribute)
            if name not in taken:
                registry.CustomOp.register_oot(_decorated_op_cls=found, name=name)
    state = importlib.import_module("vllm.distributed.parallel_state")
    if not state.model_parallel_is_initialized():
        with configured():
            _one_process(state)


def _one_process(state: Any) -> None:
    rendezvous = Path(tempfile.mkdtemp(prefix="vision-bench-")) / "rendezvous"
    state.init_distributed_environment(
        world_size=1, rank=0, local_rank=0, distributed_init_method=rendezvous.as_uri(), backend="gloo"
    )
    state.initialize_model_parallel(1)


@contextmanager
def configured() -> Iterator[None]:
    """Layers are built where a configuration of vLLM is current."""
    config = importlib.import_module("vllm.config")
    platform = type(importlib.import_module("vllm.platforms").current_platform)
    # Some platforms of vllm-ascend have no answer to a configuration without a model.
    with mock.patch.object(platform, "check_and_update_config", return_value=None):
        current = config.VllmConfig()
    current.compilation_config.custom_ops = ["all"]
    with config.set_current_vllm_config(current):
        yield


def finish(model: Any, *, as_on_an_npu: bool) -> None:
    """What else a model needs where the process's platform is not an NPU's: vLLM alone has that of the CPU."""
    if with_vllm_ascend():
        return
    rotary = importlib.import_module("vllm.model_executor.layers.rotary_embedding.common").ApplyRotaryEmb
    attention = importlib.import_module(next(filter(distributions.has_module, _ATTENTION))).MMEncoderAttention
    dispatched = importlib.import_module("vllm.model_executor.custom_op").CustomOp
    for layer in model.modules():
        if isinstance(layer, (attention, rotary)):
            if as_on_an_npu:
                layer._forward_method = layer.forward_oot
        elif isinstance(layer, dispatched):
            # On a CPU some would call an op of the release's compiled part.
            layer._forward_method = layer.forward_native
        if hasattr(layer, "quant_method"):
            # What layers have on that platform once their weights are loaded, and call.
            layer.cpu_linear = torch.nn.functional.linear
