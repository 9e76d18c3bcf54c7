"""Checks of mla-multistream: MLA decode steps of 0.9.1rc1, plain and speculative, with caches in both formats."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import torch

from ascend_patches.checks import mla_math, world
from ascend_patches.checks.check import Call, Check
from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.patches.mla_multistream import mla_layer

Tensors = dict[str, torch.Tensor]


def prepare(nz: bool, guessed: int, dtype: torch.dtype) -> Call:
    world.start()
    layer = mla_layer.layer(dtype, guessed=guessed, enable_kv_nz=nz)
    step = mla_layer.metadata("SpecDecoding" if guessed else "DecodeOnly", guessed=guessed)
    return Call(partial(mla_layer.step, layer, step, dtype), partial(exact, layer, step, nz, dtype))


def exact(layer: Any, step: Any, nz: bool, dtype: torch.dtype) -> Tensors:
    """Of blocks of columns ("nz") without the caches, which have the same rows in another order.

    Of two tokens of a sequence in plain blocks without the output: this release takes what the op gives by head for
    what it gives by token, and the patch, which is not about that, keeps its numbers.
    """
    known = {name: tensor.detach().cpu() for name, tensor in mla_layer.names(layer, step).items()}
    latents, ropes = (cache.cpu() for cache in mla_layer.caches(dtype))
    hidden = mla_layer.hidden(step.num_actual_tokens, dtype).cpu()
    positions = known["positions"]
    cos, sin = known["cos_table"][positions], known["sin_table"][positions]
    impl, epsilon = layer.mla_attn.impl, layer.kv_a_layernorm.variance_epsilon
    compressed = mla_math.rms_norm(mla_math.projected(hidden, known["q_a_proj"]), known["q_a_layernorm"], epsilon)
    query = mla_math.projected(compressed, known["q_b_proj"]).unflatten(1, (mla_layer.HEADS, -1))
    kv = mla_math.projected(hidden, known["kv_a_proj_with_mqa"])
    rows = mla_math.rms_norm(kv[:, : mla_layer.LATENT], known["kv_a_layernorm"], epsilon)
    turned = mla_math.rotated(kv[:, mla_layer.LATENT :], cos, sin)
    if nz:
        latents, ropes = (_by_rows(cache) for cache in (latents, ropes))
    latents = mla_math.written(latents, rows, known["slots"])
    ropes = mla_math.written(ropes, turned, known["slots"])
    result = mla_math.attended(
        mla_math.by_head(query[..., : mla_layer.NOPE], known["W_UK_T"]),
        mla_math.rotated(query[..., mla_layer.NOPE :], cos[:, None], sin[:, None]),
        latents,
        ropes,
        known["blocks"],
        mla_layer.LENGTHS,
        impl.scale,
    )
    output = mla_math.projected(mla_math.by_head(result, known["W_UV"]).flatten(1), known["o_proj"])
    if nz:
        return {"output": output}
    caches = {"latents": latents, "ropes": ropes}
    return caches if step.num_actual_tokens > len(mla_layer.LENGTHS) else {"output": output, **caches}


def _by_rows(cache: torch.Tensor) -> torch.Tensor:
    """A cache whose blocks hold columns of 16, one after the other, as rows."""
    blocks, block, _, size = cache.shape
    return cache.view(blocks, size // 16, block, 16).transpose(1, 2).reshape(cache.shape)


CHECKS = tuple(
    Check(
        f"{'two tokens' if guessed else 'one token'} of a sequence{', blocks of columns' if nz else ''}",
        partial(prepare, nz, guessed),
        where=version_in("vllm-ascend", "==0.9.1rc1"),
        tolerance=Tolerance(float32=1e-5, bfloat16=3e-2),
    )
    for nz, guessed in product((False, True), (0, 1))
)
