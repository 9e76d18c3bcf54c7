"""The encoders that are given whole pictures or recordings instead of patches, each built small.

Of the pixels that every encoder is given, a patch after the other, these rows make what their models hand to them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks.encoder import PATCH, Encoder, Grids, configured, given, of_class

_COLOURS = 3
_BINS = 16
_FRAMES_IN_ONE = 2
_LONGEST = 512
"""Positions of recordings, each of which is two frames."""


def _in_colour(config: Any) -> tuple[int, ...]:
    return (_COLOURS * config.patch_size**2,)


def _in_colour_of_two_frames(config: Any) -> tuple[int, ...]:
    return (_FRAMES_IN_ONE * _COLOURS * config.patch_size**2,)


def _bins(config: Any) -> tuple[int, ...]:
    return (_BINS,)


def _pictures(pixels: torch.Tensor, grids: Grids) -> Iterator[torch.Tensor]:
    """Of every frame its channels, rows and columns."""
    sides = [(rows, columns) for frames, rows, columns in grids for _ in range(frames)]
    for part, (rows, columns) in zip(pixels.split([rows * columns for rows, columns in sides]), sides, strict=True):
        by_place = part.reshape(rows, columns, -1, PATCH, PATCH).permute(2, 0, 3, 1, 4)
        yield by_place.reshape(-1, rows * PATCH, columns * PATCH)


def _of_pictures(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    return model(list(_pictures(pixels, grids)))


def _pixtral(module: Any, layers: int) -> Any:
    return module.VisionEncoderArgs(
        hidden_size=144,
        num_channels=_COLOURS,
        image_size=64,
        patch_size=PATCH,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
        rope_theta=10000.0,
        image_token_id=10,
    )


def _pixtral_of_transformers(module: Any, layers: int) -> Any:
    return module.PixtralVisionConfig(
        hidden_size=144,
        num_channels=_COLOURS,
        image_size=64,
        patch_size=PATCH,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
    )


def _of_pictures_where_built(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    # It keeps the device and type that it was built on, and vLLM builds models on their device.
    model.device, model.dtype = pixels.device, pixels.dtype
    return _of_pictures(model, pixels, grids)


def _muse(layers: int) -> dict[str, Any]:
    return {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "num_hidden_layers": layers,
        "intermediate_size": 96,
        "patch_size": PATCH,
        "patch_temporal": _FRAMES_IN_ONE,
        "merge_size": 2,
        "pos_emb_height": 4,
        "pos_emb_width": 4,
        "layer_types": ["window_attention" if index % 2 else "full_attention" for index in range(layers)],
    }


def _muse_glimmer(module: Any, layers: int) -> Any:
    vision = SimpleNamespace(**_muse(layers), merge_kernel_size=2, output_dim=144 * 4)
    # Until 0.33 the encoder's own configuration is given, and then the model's.
    vision.vision_config, vision.out_hidden_size = vision, vision.output_dim
    return vision


def _of_patches_or_pictures(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    if "grid_thw" in inspect.signature(model.forward).parameters:
        return model(pixels, torch.tensor(grids))
    return _of_pictures(model, pixels, grids)


def _muse_spark(module: Any, layers: int) -> Any:
    return SimpleNamespace(**_muse(layers), layer_norm_eps=1e-5, rope_parameters={"rope_theta": 10000.0})


def _of_clips(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    clips = [clip.unflatten(0, (_FRAMES_IN_ONE, _COLOURS)) for clip in _pictures(pixels, grids)]
    return model(clips)


def _ultravox(module: Any, layers: int) -> Any:
    audio = importlib.import_module("transformers").WhisperConfig(
        d_model=144,
        encoder_attention_heads=2,
        encoder_layers=layers,
        encoder_ffn_dim=96,
        num_mel_bins=_BINS,
        max_source_positions=_LONGEST,
    )
    whole = SimpleNamespace(
        audio_config=audio, text_config=SimpleNamespace(hidden_size=48), stack_factor=2, num_projector_layers=layers
    )
    return SimpleNamespace(audio=_around(audio), whole=_around(whole))


def _around(config: Any) -> Any:
    """What layers ask of vLLM's configuration."""
    return SimpleNamespace(
        model_config=SimpleNamespace(hf_config=config),
        cache_config=None,
        quant_config=None,
        with_hf_config=lambda config, **_: _around(config),
    )


def _tower_and_projector(module: Any, config: Any, prefix: str) -> Any:
    tower = given(module.UltravoxWhisperEncoder, vllm_config=config.audio, prefix=prefix, enable_pp=False)
    projector = module.UltravoxTransformerProjector(config.whole, prefix=prefix)
    return torch.nn.ModuleDict({"audio_tower": tower, "multi_modal_projector": projector})


def _of_recordings(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    """One recording of each grid, with as many frames as it has patches."""
    of_model = importlib.import_module(type(model.audio_tower).__module__).UltravoxModel
    frames = [number * rows * columns for number, rows, columns in grids]
    recordings = torch.nn.utils.rnn.pad_sequence(list(pixels.split(frames)), batch_first=True).transpose(1, 2)
    lengths = torch.tensor(frames, device=pixels.device)
    convolved = (lengths - 1) // 2 + 1
    here = SimpleNamespace(
        audio_tower=model.audio_tower,
        multi_modal_projector=model.multi_modal_projector,
        pad_audio_to_max_context=False,
    )
    return of_model._audio_features_to_embeddings(here, recordings, lengths, (convolved - 1) // 2 + 1)


def _fun_audio_chat(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        d_model=144,
        encoder_attention_heads=2,
        encoder_layers=layers,
        encoder_ffn_dim=96,
        num_mel_bins=_BINS,
        max_source_positions=_LONGEST,
        scale_embedding=False,
        n_window=8,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="gelu",
        output_dim=48,
    )


def _omni_audio(module: Any, layers: int) -> Any:
    return configured("qwen3_omni_moe", "Qwen3OmniMoeAudioEncoderConfig")(
        d_model=144,
        encoder_attention_heads=2,
        encoder_layers=layers,
        encoder_ffn_dim=96,
        num_mel_bins=_BINS,
        max_source_positions=_LONGEST,
        n_window=8,
        n_window_infer=32,
        downsample_hidden_size=8,
        output_dim=48,
    )


def _of_recordings_in_chunks(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    frames = torch.tensor([number * rows * columns for number, rows, columns in grids])
    # Of each chunk three convolutions leave an eighth.
    chunks, rest = frames // (2 * model.n_window), frames % (2 * model.n_window)
    convolved = chunks * (2 * model.n_window // 8) + (rest + 7) // 8
    lengths, left = (each.to(pixels.device) for each in (frames, convolved))
    found = model(pixels.T.contiguous(), feature_lens=lengths, aftercnn_lens=left)
    return found if isinstance(found, torch.Tensor) else found.last_hidden_state


def _of_speech(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    frames = [number * rows * columns for number, rows, columns in grids]
    lengths = torch.tensor(frames, device=pixels.device)
    found = model(
        pixels.T.contiguous(),
        feature_lens=lengths,
        aftercnn_lens=(lengths - 1) // 2 + 1,
        speech_maxlen=max(frames) // 4 + 1,
    )
    return found.last_hidden_state


PICTURE_ENCODERS = {
    "Pixtral": Encoder(
        "pixtral",
        _pixtral,
        lambda m, c, p: given(m.VisionTransformer, args=c, prefix=p),
        _in_colour,
        call=_of_pictures,
    ),
    "Pixtral of transformers": Encoder(
        "pixtral",
        _pixtral_of_transformers,
        lambda m, c, p: given(m.PixtralHFVisionModel, config=c, prefix=p),
        _in_colour,
        call=_of_pictures_where_built,
    ),
    "MuseGlimmer": Encoder(
        "muse_glimmer",
        _muse_glimmer,
        lambda m, c, p: given(m.MuseGlimmerVisionEncoder, config=c, prefix=p),
        _in_colour_of_two_frames,
        call=_of_patches_or_pictures,
    ),
    "Ultravox": Encoder("ultravox", _ultravox, _tower_and_projector, _bins, call=_of_recordings),
    "Fun-Audio-Chat": Encoder(
        "funaudiochat", _fun_audio_chat, lambda m, c, _: m.FunAudioChatAudioEncoder(c), _bins, call=_of_speech
    ),
    "Qwen3-Omni's audio": Encoder(
        "qwen3_omni_moe_thinker",
        _omni_audio,
        of_class("Qwen3OmniMoeAudioEncoder"),
        _bins,
        call=_of_recordings_in_chunks,
    ),
    "Muse Spark": Encoder(
        "vllm.models.muse_spark.common.vision",
        _muse_spark,
        lambda m, c, p: given(m.NaViT, config=c, projector_hidden_size=48, prefix=p),
        _in_colour_of_two_frames,
        call=_of_clips,
    ),
}
