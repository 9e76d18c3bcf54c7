"""Checks of vision-blocks: whole encoders whose blocks it serves."""

from __future__ import annotations

from ascend_patches.checks.check import NOWHERE
from ascend_patches.checks.encoder_forward import checks
from ascend_patches.checks.encoders import GRIDS
from ascend_patches.declaring.gates import version_in

LAYERS = {"Qwen3-VL": 2, "Qwen2-VL": 2, "Qwen2.5-VL": 4, "Qwen3-Omni": 2, "GLM-4.1V": 2, "Kimi-K2.5": 2}
# There Kimi-K2.5 asks for interleaved pairs, and vllm-ascend turns halves: rotary-embedding mends that.
WRONGLY_TURNED = version_in("vllm-ascend", "==0.29.*")

CHECKS = tuple(
    check
    for title, layers in LAYERS.items()
    for check in checks(
        title,
        {"images and a video": GRIDS},
        layers,
        where=version_in("vllm", ">=0.15" if title == "Kimi-K2.5" else ">=0.13"),
        mended=WRONGLY_TURNED if title == "Kimi-K2.5" else NOWHERE,
        dtypes=("bfloat16",),
    )
)
