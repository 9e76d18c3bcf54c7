"""Checks of more-encoders: every encoder that it serves, built small from the release's own code."""

from __future__ import annotations

from ascend_patches.checks.encoder_forward import checks
from ascend_patches.checks.encoders import GRIDS
from ascend_patches.checks.more_encoders import IN_FLOAT32
from ascend_patches.declaring.gates import Gate, version_in

LAYERS = 2
INPUTS = {"images and a video": GRIDS}
WHERE: dict[str, Gate] = {
    "PaddleOCR-VL": version_in("vllm", ">=0.13"),
    "GLM-OCR": version_in("vllm", ">=0.16"),
    "GLM-5.3-Flash": version_in("vllm", ">=0.31"),
    "GLM-5.3-Flash of 0.30": version_in("vllm", ">=0.30,<0.31"),
    "GLM-5.3-Flash of vllm-ascend": version_in("vllm-ascend", ">=0.28"),
    "dots.ocr": version_in("vllm", ">=0.13"),
    "Kimi-VL": version_in("vllm", ">=0.14"),
    "Ernie4.5-VL": version_in("vllm", ">=0.13"),
    "Ovis2.5": version_in("vllm", ">=0.13"),
    "MiMo-V2-Omni": version_in("vllm", ">=0.21"),
    # Earlier ones make a layer in every forward, and that of vllm-ascend 0.13 refuses what Keye gives it.
    "Keye": version_in("vllm", ">=0.15"),
    "Isaac": version_in("vllm", ">=0.14"),
    "LFM2-VL": version_in("vllm", ">=0.16"),
    "Phi-4 with SigLIP": version_in("vllm", ">=0.20"),
    "Cosmos3 Edge": version_in("vllm", ">=0.26"),
    "LLaVA-OneVision-2": version_in("vllm", ">=0.25"),
    "Pixtral": version_in("vllm", ">=0.29"),
    "Pixtral of transformers": version_in("vllm", ">=0.29"),
    "MuseGlimmer": version_in("vllm", ">=0.28"),
    "Ultravox": version_in("vllm", ">=0.28"),
    "Fun-Audio-Chat": version_in("vllm", ">=0.16"),
    "Muse Spark": version_in("vllm", ">=0.33"),
    "RADIO": version_in("vllm", ">=0.18"),
    "Kanana-V": version_in("vllm", ">=0.14"),
    "DeepSeek-V4": version_in("vllm", ">=0.31"),
}
"""The releases that have each encoder."""

CHECKS = tuple(
    check
    for title, where in WHERE.items()
    for check in checks(
        title,
        INPUTS,
        LAYERS,
        where=where,
        dtypes=("float32",) if title in IN_FLOAT32 else ("bfloat16",),
    )
)
