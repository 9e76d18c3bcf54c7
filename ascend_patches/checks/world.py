"""What a model of a release expects around it: an NPU, a configuration, and a world of one process."""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ascend_patches.checks import ascend_layers, emulation
from ascend_patches.upstream import distributions

_ATTENTION = (
    "vllm.model_executor.layers.attention.mm_encoder_attention",
    "vllm.attention.layers.mm_encoder_attention",
)
_WRAPPERS = ("vllm.v1.attention.ops.vit_attn_wrappers", "vllm.attention.ops.vit_attn_wrappers")
# Compiled ops of vLLM that layers look up when they are built; a release may be here without its compiled part.
_LOOKED_UP = ("gelu_quick", "silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul")


def with_vllm_ascend() -> bool:
    return distributions.has_module("vllm_ascend")


def on_a_real_npu() -> bool:
    return not emulation.in_use() and distributions.has_module("torch_npu")


@cache
def start() -> None:
    """Bring the device: the real one where its torch_npu is installed, else the emulated one."""
    if on_a_real_npu():
        importlib.import_module("torch_npu")
        return
    emulated_npu = emulation.required()
    if not emulated_npu.installed():
        emulated_npu.install(allow_float32=True)
    # Ops that were installed before are as strict as real ones; exact comparisons want float32.
    emulated_npu.allow_float32()


@cache
def enter() -> None:
    """Make this process one that encoders can be built in."""
    start()
    if not on_a_real_npu():
        import torch._dynamo

        # Some models compile a function of theirs, and no compiler makes code for an emulated device.
        torch._dynamo.config.disable = True
    _define_looked_up()
    if with_vllm_ascend():
        with configured():
            ascend_layers.register()
    else:
        _attend_on_the_device()
    state = importlib.import_module("vllm.distributed.parallel_state")
    if not state.model_parallel_is_initialized():
        with configured():
            _one_process(state)


@cache
def _define_looked_up() -> list[torch.library.Library]:
    """Gives the library, which takes its ops with it when it goes."""
    # Where it is installed and loads it defines them itself, and would not share. It may be loaded already, under the
    # name of a build for this processor: a second build in one process ends it.
    if not any(hasattr(torch.ops._C, op) for op in _LOOKED_UP):
        with suppress(ImportError):
            importlib.import_module("vllm._C")
    library = torch.library.Library("_C", "FRAGMENT")
    for op in _LOOKED_UP:
        if not hasattr(torch.ops._C, op):
            library.define(f"{op}(Tensor! out, Tensor input) -> ()")
    return [library]


@cache
def _attend_on_the_device() -> list[torch.library.Library]:
    """Register vLLM's op of attention for the device, as it does itself where the platform is that of an NPU.

    Here the platform is the CPU's, and the op would take every query, key and value to the host.
    """
    found = next(filter(distributions.has_module, _WRAPPERS), None)
    if found is None:
        return []
    library = torch.library.Library("vllm", "FRAGMENT")
    library.impl("torch_sdpa_wrapper", importlib.import_module(found).torch_sdpa_wrapper, "PrivateUse1")
    return [library]


def _one_process(state: Any) -> None:
    folder = tempfile.mkdtemp(prefix="ascend-patches-checks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rendezvous = Path(folder, "rendezvous")
    state.init_distributed_environment(
        world_size=1, rank=0, local_rank=0, distributed_init_method=rendezvous.as_uri(), backend="gloo"
    )
    state.initialize_model_parallel(1)


@contextmanager
def configured() -> Iterator[None]:
    """Layers are built where a configuration of vLLM is current."""
    with importlib.import_module("vllm.config").set_current_vllm_config(_configuration()):
        yield


@cache
def _configuration() -> Any:
    platform: Any = type(importlib.import_module("vllm.platforms").current_platform)
    own = vars(platform).get("check_and_update_config")
    # Some platforms of vllm-ascend have no answer to a configuration without a model.
    platform.check_and_update_config = classmethod(lambda *_: None)
    try:
        made = importlib.import_module("vllm.config").VllmConfig()
    finally:
        if own is not None:
            platform.check_and_update_config = own
        else:
            del platform.check_and_update_config
    made.compilation_config.custom_ops = ["all"]
    return made


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
