"""Checks of the audio encoder of Qwen3-Omni: its windows are sequences, and only the host knows where they end."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ascend_patches.checks import world
from ascend_patches.checks.check import NOWHERE, Call, Check
from ascend_patches.checks.encoder_forward import TOLERANCE
from ascend_patches.checks.seeded import random
from ascend_patches.checks.whole_encoders import widened
from ascend_patches.declaring.gates import absent, installed, version_in

LAYERS = 2
BINS = 16
HALF_A_CHUNK = 8
CHUNKS_IN_A_WINDOW = 2
AUDIOS = {"several audios": (70, 16, 33), "one audio": (48,), "an audio within a window": (9,)}
"""How many frames each has."""


def made(dtype: torch.dtype, *, as_on_an_npu: bool = True) -> Any:
    """A small one, with weights that are the same whenever it is made."""
    world.enter()
    configuration = importlib.import_module("transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe")
    config = configuration.Qwen3OmniMoeAudioEncoderConfig(
        d_model=144,
        encoder_attention_heads=2,
        encoder_layers=LAYERS,
        encoder_ffn_dim=96,
        num_mel_bins=BINS,
        max_source_positions=64,
        n_window=HALF_A_CHUNK,
        n_window_infer=2 * HALF_A_CHUNK * CHUNKS_IN_A_WINDOW,
        downsample_hidden_size=8,
        output_dim=48,
    )
    module = importlib.import_module("vllm.model_executor.models.qwen3_omni_moe_thinker")
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with world.configured():
            model = module.Qwen3OmniMoeAudioEncoder(config, prefix="audio_tower").eval()
    finally:
        torch.set_default_dtype(before)
    for name, parameter in model.named_parameters():
        parameter.data = (random(name, *parameter.shape, dtype=torch.float32) * 0.1).to(dtype)
    world.finish(model, as_on_an_npu=as_on_an_npu)
    return model.to("npu")


def forward(model: Any, features: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """One forward, as the release's models call it."""
    lengths = torch.tensor(frames, device=features.device)
    convolved = torch.tensor([_convolved(count) for count in frames], device=features.device)
    output: Any = model(features, feature_lens=lengths, aftercnn_lens=convolved)
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output.last_hidden_state
    return found


def features(frames: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return random("features", BINS, sum(frames), dtype=torch.float32).to(dtype)


def _convolved(frames: int) -> int:
    """What three convolutions, each of which halves, leave of an audio's chunks."""
    chunks, rest = divmod(frames, 2 * HALF_A_CHUNK)
    return chunks * _halved(2 * HALF_A_CHUNK) + _halved(rest)


def _halved(frames: int) -> int:
    return -(-frames // 8)


def _prepare(frames: Sequence[int], as_on_an_npu: bool, dtype: torch.dtype) -> Call:
    model, given = made(dtype, as_on_an_npu=as_on_an_npu), features(frames, dtype)

    def exact() -> torch.Tensor:
        return forward(widened(model), given.double(), frames)

    run: Callable[[], torch.Tensor] = partial(forward, model, given.to("npu"), frames)
    return Call(run, exact)


# Before, the encoder is that of transformers, which attends without vLLM.
_SERVED = version_in("vllm", ">=0.15")
_TITLE = "Qwen3-Omni's audio"
_SEVERAL = AUDIOS["several audios"]

CHECKS = (
    *(
        Check(
            f"{_TITLE}: {name}",
            partial(_prepare, frames, True),
            where=_SERVED & installed("vllm-ascend"),
            tolerance=TOLERANCE,
        )
        for name, frames in AUDIOS.items()
    ),
    Check(
        f"{_TITLE} as on a CPU: several audios",
        partial(_prepare, _SEVERAL, False),
        where=_SERVED & absent("vllm-ascend"),
        tolerance=TOLERANCE,
    ),
    Check(
        f"{_TITLE} as on an NPU: several audios",
        partial(_prepare, _SEVERAL, True),
        where=_SERVED & absent("vllm-ascend"),
        bitwise=NOWHERE,
        tolerance=TOLERANCE,
    ),
)
