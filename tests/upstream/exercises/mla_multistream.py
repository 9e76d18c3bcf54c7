"""Decode steps of an MLA attention layer: plain and speculative, with caches in both formats."""

from __future__ import annotations

from itertools import product

import torch

from ascend_patches.gates import version_in


def run() -> dict[str, torch.Tensor]:
    if not version_in("vllm-ascend", "==0.9.1rc1"):
        return {}
    from tools.mla_steps import layer as mla

    results = {}
    for dtype, nz, guessed in product((torch.float32, torch.bfloat16), (False, True), (0, 1)):
        layer = mla.layer(dtype, guessed=guessed, enable_kv_nz=nz)
        step = mla.metadata("SpecDecoding" if guessed else "DecodeOnly", guessed=guessed)
        for name, tensor in mla.step(layer, step, dtype).items():
            results[f"{dtype}, nz {nz}, {guessed} guessed: {name}"] = tensor
    return results
