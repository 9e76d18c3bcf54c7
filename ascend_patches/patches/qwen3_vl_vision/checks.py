"""Checks of qwen3-vl-vision: the whole vision encoder of Qwen3-VL."""

from __future__ import annotations

from functools import partial

import torch

from ascend_patches.checks import encoder_forward
from ascend_patches.checks.check import Call, Check
from ascend_patches.checks.encoders import ENCODERS, GRIDS
from ascend_patches.checks.world import with_vllm_ascend
from ascend_patches.declaring.gates import version_in

LAYERS = 2
INPUTS = {
    "images and a video": GRIDS,
    "one image": [[1, 6, 4]],
    "images of one size": [[1, 4, 4], [1, 4, 4]],
    "a square and its columns": [[1, 4, 8], [1, 8, 4]],
}
_WHERE = version_in("vllm", ">=0.13")


def _given_a_tensor(dtype: torch.dtype) -> Call:
    """Some callers of the encoder give the grids as a tensor."""
    encoder = ENCODERS["Qwen3-VL"]
    model = encoder.made(LAYERS, dtype, as_on_an_npu=with_vllm_ascend())
    return Call(partial(model, encoder.pixels(GRIDS, dtype), torch.tensor(GRIDS)))


CHECKS = (
    *encoder_forward.checks("Qwen3-VL", INPUTS, LAYERS, where=_WHERE),
    Check(
        "Qwen3-VL: a tensor of grids",
        _given_a_tensor,
        dtypes=("bfloat16",),
        where=_WHERE,
        tolerance=encoder_forward.TOLERANCE,
    ),
)
