"""Checks of mla-kv-overlap: the preparation of MLA decode steps, of decodes alone and beside a prefill."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ascend_patches.checks import mla_math, world
from ascend_patches.checks.check import Call, Check
from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.patches.mla_kv_overlap import mla_impl

Tensors = dict[str, torch.Tensor]


def prepare(decodes: int, dtype: torch.dtype) -> Call:
    world.start()
    impl = mla_impl.make(dtype)
    step = mla_impl.Step(dtype, decodes)
    before = {name: tensor.cpu() for name, tensor in step.names(impl).items()}
    return Call(partial(step.run, impl), partial(exact, impl, before, decodes))


def exact(impl: Any, before: Tensors, decodes: int) -> Tensors:
    nope, rope = impl.qk_nope_head_dim, impl.qk_rope_head_dim
    cos, sin = before["cos"].flatten(0, 2), before["sin"].flatten(0, 2)
    query = mla_math.projected(before["q_c"][:decodes], before["q_proj"]).unflatten(1, (-1, nope + rope))
    kv, slots = before["kv"][:decodes], before["slots"][:decodes]
    norm = before["kv_a_layernorm"]
    latents = mla_math.rms_norm(kv[:, : mla_impl.LATENT], norm, impl.kv_a_layernorm.variance_epsilon)
    return {
        "ql_nope": mla_math.by_head(query[..., :nope], before["W_UK_T"]),
        "q_pe": mla_math.rotated(query[..., nope:], cos[:, None], sin[:, None]),
        "latents": mla_math.written(before["latents"], latents, slots),
        "ropes": mla_math.written(before["ropes"], mla_math.rotated(kv[:, mla_impl.LATENT :], cos, sin), slots),
        "values": mla_math.by_head(before["attended"].transpose(0, 1), before["W_UV"]).flatten(1),
    }


CHECKS = tuple(
    Check(
        name,
        partial(prepare, decodes),
        where=version_in("vllm-ascend", ">=0.13"),
        tolerance=Tolerance(float32=1e-5, bfloat16=2e-2),
    )
    for name, decodes in (("decodes alone", mla_impl.TOKENS), ("decodes beside a prefill", mla_impl.TOKENS - 1))
)
