"""The whole vision encoder of Qwen3-VL, on images and videos.

On vLLM alone it runs as on a CPU: what the attention and the rotation of other patches compute on an NPU has nothing
there to be compared with.
"""

from __future__ import annotations

import torch

from ascend_patches.gates import version_in
from tools.vision_bench.encoders import ENCODERS, GRIDS
from tools.vision_bench.world import with_vllm_ascend

LAYERS = 3
INPUTS = {
    "images and a video": GRIDS,
    "one image": [[1, 6, 4]],
    "images of one size": [[1, 4, 4], [1, 4, 4]],
    "a square and its columns": [[1, 4, 8], [1, 8, 4]],
}


@torch.inference_mode()
def run() -> dict[str, torch.Tensor]:
    if not version_in("vllm", ">=0.13"):
        return {}
    encoder = ENCODERS["Qwen3-VL"]
    outputs: dict[str, torch.Tensor] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = encoder.made(LAYERS, dtype, as_on_an_npu=with_vllm_ascend())
        for name, grids in INPUTS.items():
            outputs[f"{name}, {dtype}"] = model(encoder.pixels(grids, dtype), grids)
            outputs[f"{name}, a tensor of grids, {dtype}"] = model(encoder.pixels(grids, dtype), torch.tensor(grids))
    return outputs
