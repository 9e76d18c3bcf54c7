"""The preparation of MLA decode steps, of decodes alone and beside a prefill."""

from __future__ import annotations

import torch

from ascend_patches.gates import version_in


def run() -> dict[str, torch.Tensor]:
    if not version_in("vllm-ascend", ">=0.13"):
        return {}
    from tools.mla_steps import impl as mla

    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        impl = mla.make(dtype)
        for decodes in (mla.TOKENS, mla.TOKENS - 1):
            for name, tensor in mla.Step(dtype, decodes).run(impl).items():
                results[f"{decodes} decodes {dtype} {name}"] = tensor
    return results
