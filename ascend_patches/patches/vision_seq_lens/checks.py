"""Checks of vision-seq-lens: the whole encoders that it serves."""

from __future__ import annotations

from ascend_patches.checks.check import NOWHERE
from ascend_patches.checks.encoder_forward import checks
from ascend_patches.checks.encoders import GRIDS
from ascend_patches.declaring.gates import version_in

INPUTS = {
    "images and a video": GRIDS,
    "images of one size": [[1, 4, 4], [1, 4, 4]],
    "as many windows as frames": [[2, 4, 8], [1, 4, 4], [1, 4, 4]],
}
RECORDINGS = {
    "several recordings": [[1, 1, 70], [1, 1, 16], [1, 1, 33]],
    "one recording": [[1, 1, 48]],
    "a recording within a window": [[1, 1, 9]],
}
"""How many frames each has."""
# Of these four layers of Qwen2.5-VL the last attends to whole frames, the others to windows.
LAYERS = {"Qwen2-VL": 2, "Qwen2.5-VL": 4, "Qwen3-Omni": 2, "GLM-4.1V": 2, "Kimi-K2.5": 2, "EXAONE-4.5": 4}
FIRST_VLLM = {"Kimi-K2.5": ">=0.15", "EXAONE-4.5": ">=0.24"}
"""Where not all have it: of EXAONE-4.5 it is transformers that has the configuration later than vLLM the encoder."""
# There Kimi-K2.5 asks for interleaved pairs, and vllm-ascend turns halves: rotary-embedding mends that.
WRONGLY_TURNED = version_in("vllm-ascend", "==0.29.*")

CHECKS = (
    *(
        check
        for title, layers in LAYERS.items()
        for check in checks(
            title,
            INPUTS,
            layers,
            where=version_in("vllm", FIRST_VLLM.get(title, ">=0.13")),
            mended=WRONGLY_TURNED if title == "Kimi-K2.5" else NOWHERE,
        )
    ),
    # Before, the encoder is that of transformers, which attends without vLLM.
    *checks("Qwen3-Omni's audio", RECORDINGS, 2, where=version_in("vllm", ">=0.15")),
)
