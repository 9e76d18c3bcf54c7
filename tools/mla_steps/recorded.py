"""The operations of decode steps on the emulated NPU, in order, as lines."""

from __future__ import annotations

from typing import Any

import torch

import emulated_npu
from ascend_patches.patches.mla_kv_overlap import mla_impl
from ascend_patches.patches.mla_multistream import mla_layer
from tools.mla_steps import order


def of_layer(attention: Any, of: Any) -> list[order.Line]:
    """A whole decode step of a layer of 0.9.1rc1."""
    latents, ropes = mla_layer.caches(torch.bfloat16)
    states = mla_layer.hidden(of.num_actual_tokens, torch.bfloat16)
    with torch.no_grad(), emulated_npu.trace() as trace:
        attention(of.decode.input_positions, states, (latents, ropes), of)
    return order.read(trace, {"hidden": states, "latents": latents, "ropes": ropes, **mla_layer.names(attention, of)})


def of_impl(impl: Any, step: mla_impl.Step) -> list[order.Line]:
    """The preparation of a decode step by the attention of 0.13 and later."""
    with emulated_npu.trace() as trace:
        step.run(impl)
    return order.read(trace, step.names(impl))
