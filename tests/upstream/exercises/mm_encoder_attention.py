"""Encoder attention of a vllm-ascend release, in every way that the release itself can be called.

vLLM alone has no NPU kernel to compare with: there the patch gives another one, which is held against float64 instead.
"""

from __future__ import annotations

import contextlib

import torch
from attention_cases import CASES, DTYPES, WRONG_UPSTREAM, of_this_release, vllm_configured

from ascend_patches import distributions
from ascend_patches.npu.encoder_call import encoder_call


@torch.inference_mode()
def run() -> dict[str, torch.Tensor]:
    if not distributions.has_module("vllm_ascend.ops.mm_encoder_attention"):
        return {}
    release = of_this_release()
    outputs: dict[str, torch.Tensor] = {}
    with vllm_configured():
        for name, case in CASES.items():
            if name in WRONG_UPSTREAM:
                continue
            layer = release.layer(case)
            for dtype in DTYPES:
                for where, around in (("", contextlib.nullcontext()), (" in a call", encoder_call())):
                    with around:
                        outputs[f"{name}, {dtype}{where}"] = layer.forward_oot(**release.arguments(case, dtype))
    return outputs
