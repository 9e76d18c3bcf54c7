"""The whole vision encoders that the patch serves, on images and videos; on vLLM alone as on a CPU."""

from __future__ import annotations

import torch

from ascend_patches.gates import version_in
from tools.vision_bench.encoders import ENCODERS, GRIDS
from tools.vision_bench.world import with_vllm_ascend

NAMES = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-Omni", "GLM-4.1V", "Kimi-K2.5")
LAYERS = 4
INPUTS = {
    "images and a video": GRIDS,
    "images of one size": [[1, 4, 4], [1, 4, 4]],
    "as many windows as frames": [[2, 4, 8], [1, 4, 4], [1, 4, 4]],
}

# There Kimi-K2.5 asks for interleaved pairs, and vllm-ascend turns halves: the patch rotary-embedding mends that.
WRONGLY_TURNED = version_in("vllm-ascend", "==0.29.*")
MENDED = tuple(
    f"Kimi-K2.5, {name}, {dtype}" for name in INPUTS for dtype in (torch.float32, torch.bfloat16) if WRONGLY_TURNED
)


@torch.inference_mode()
def run() -> dict[str, torch.Tensor]:
    outputs: dict[str, torch.Tensor] = {}
    if not version_in("vllm", ">=0.13"):
        return outputs
    for title in NAMES:
        encoder = ENCODERS[title]
        if not encoder.there():
            continue
        for dtype in (torch.float32, torch.bfloat16):
            model = encoder.made(LAYERS, dtype, as_on_an_npu=with_vllm_ascend())
            for name, grids in INPUTS.items():
                outputs[f"{title}, {name}, {dtype}"] = encoder.run(model, grids, dtype)
    return outputs
