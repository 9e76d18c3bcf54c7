"""The encoders that the patch more-encoders serves, each built small: a row and the configuration of its model.

Where a model computes the sequences of its encoder outside of it, the row calls the model's own method for that, on a
stand-in for the model that has no more than the encoder.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks.encoder import PATCH, Encoder, Grids, given, of_class, one_frame, two_frames
from ascend_patches.checks.picture_encoders import PICTURE_ENCODERS
from ascend_patches.declaring.gates import version_in

_MODELS = "vllm.model_executor.models"
# These stretch their positions with an operation that the emulated device has in float32 alone.
IN_FLOAT32 = ("Isaac", "LFM2-VL", "Phi-4 with SigLIP", "Cosmos3 Edge")


def _each_image(pixels: torch.Tensor, grids: Grids) -> Iterator[tuple[torch.Tensor, list[int]]]:
    counts = [frames * rows * columns for frames, rows, columns in grids]
    yield from zip(pixels.split(counts), grids, strict=True)


def _siglip(layers: int, **more: Any) -> Any:
    """What models with an encoder after SigLIP configure."""
    return SimpleNamespace(
        hidden_size=144,
        num_attention_heads=2,
        num_hidden_layers=layers,
        intermediate_size=96,
        image_size=24,
        patch_size=PATCH,
        num_channels=3,
        layer_norm_eps=1e-6,
        hidden_act="gelu_pytorch_tanh",
        **more,
    )


def _glm(layers: int) -> Any:
    return SimpleNamespace(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        temporal_patch_size=2,
        spatial_merge_size=2,
        in_channels=3,
        image_size=24,
        rms_norm_eps=1e-6,
        hidden_act="silu",
        swiglu_limit=7.0,
        projection_intermediate_size=96,
    )


def _glm_of(name: str) -> Any:
    def construct(module: Any, config: Any, prefix: str) -> Any:
        from vllm.config import MultiModalConfig

        return given(
            getattr(module, name),
            vision_config=config,
            text_config=SimpleNamespace(intermediate_size=96, max_position_embeddings=8192),
            multimodal_config=MultiModalConfig(),
            norm_eps=1e-6,
            prefix=prefix,
        )

    return construct


def _paddleocr_vl(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    of_model = importlib.import_module(type(model).__module__).PaddleOCRVLForConditionalGeneration
    here = SimpleNamespace(visual=model)
    if version_in("vllm", ">=0.33"):  # where it takes the grids of all images
        return [of_model.encode_image(here, each, [tuple(grid)]) for each, grid in _each_image(pixels, grids)]
    return [of_model.encode_image(here, each, torch.tensor(grid)) for each, grid in _each_image(pixels, grids)]


def _dots_ocr(module: Any, layers: int) -> Any:
    return module.DotsVisionConfig(
        embed_dim=144,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
        patch_size=PATCH,
    )


def _moonvit(module: Any, layers: int) -> Any:
    return module.MoonViTConfig(
        patch_size=PATCH,
        init_pos_emb_height=6,
        init_pos_emb_width=6,
        num_attention_heads=2,
        num_hidden_layers=layers,
        hidden_size=144,
        intermediate_size=96,
    )


def _one_of(grids: Grids) -> Grids:
    """Images alone: rows and columns of every frame."""
    return [[rows, columns] for frames, rows, columns in grids for _ in range(frames)]


def _of_images(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    return model(pixels, torch.tensor(_one_of(grids)))


def _ernie(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        depth=layers,
        embed_dim=144,
        hidden_size=144,
        num_heads=2,
        mlp_ratio=1,
        patch_size=PATCH,
        spatial_merge_size=2,
        in_channels=3,
    )


def _ovis(module: Any, layers: int) -> Any:
    return _siglip(
        layers,
        num_patches=-1,
        preserve_original_pe=True,
        hidden_stride=2,
        window_size=16,
        fullatt_block_indexes="|".join(str(index) for index in range(layers) if index % 2),
        temporal_patch_size=1,
        use_rope=True,
        attention_dropout=0.0,
    )


def _on_device(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    """As where a model's processor leaves the grids to be moved with the pixels."""
    return model(pixels, torch.tensor(grids).to(pixels.device))


def _mimo(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        depth=layers,
        hidden_size=144,
        num_heads=2,
        # As many as heads: releases repeat keys and then say that there are fewer, which the op refuses.
        num_key_value_heads=2,
        qk_channels=72,
        kv_channels=72,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        temporal_patch_size=2,
        spatial_merge_size=2,
        in_channels=3,
        hidden_act="silu",
        use_sink=False,
        visual_token_window_size=8,
        # The layers with windows call a kernel of Triton.
        fullatt_block_indexes=list(range(layers)),
        vit_window_attn_types=[index % 2 for index in range(layers)],
    )


def _keye(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    of_model = importlib.import_module(type(model).__module__).BaseKeyeModule
    here = SimpleNamespace(visual=model, mlp_AR=lambda images, _: images)
    given_input = {"type": "pixel_values", "image_grid_thw": torch.tensor(grids), "pixel_values": pixels.unsqueeze(0)}
    return of_model._process_image_input(here, given_input)


def _isaac(module: Any, layers: int) -> Any:
    return _siglip(layers, num_patches=36, pixel_shuffle_scale_factor=2, attention_dropout=0.0)


def _packed(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    return model((pixels, torch.tensor(_one_of(grids)).to(pixels.device)))


def _patch_in_a_row(config: Any) -> tuple[int, ...]:
    return (3 * config.patch_size**2,)


def _lfm2(module: Any, layers: int) -> Any:
    return _siglip(layers, num_patches=36, attention_dropout=0.0, vision_use_head=False)


def _phi4(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    """As of the models that make the boundaries with a cumulative sum on the device."""
    shapes = torch.tensor(_one_of(grids))
    boundaries = torch.zeros(len(shapes) + 1, dtype=torch.int32, device=pixels.device)
    boundaries[1:] = shapes.prod(-1).to(pixels.device).cumsum(0)
    return model(
        pixel_values_packed=pixels.unsqueeze(0),
        spatial_shapes=shapes,
        cu_seqlens=boundaries,
        max_seqlen=shapes.prod(-1).max().reshape(1),
    )


def _of_phi4(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    """Tiles padded to the largest, from which the model packs what its mask says."""
    of_model = importlib.import_module(f"{_MODELS}.phi4siglip").Phi4ForCausalLMV
    shapes = torch.tensor(_one_of(grids))
    tiles = pixels.split(shapes.prod(-1).tolist())
    ones = [tile.new_ones(len(tile), dtype=torch.int32) for tile in tiles]
    mask = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True)
    padded = torch.nn.utils.rnn.pad_sequence(list(tiles), batch_first=True)
    packed, shapes, boundaries, longest = of_model._packed_from_padded(None, padded, mask, shapes)
    return model(
        pixel_values_packed=packed,
        spatial_shapes=shapes,
        cu_seqlens=boundaries,
        max_seqlen=longest,
        select_layers=[-2],
    )


def _cosmos(module: Any, config: Any, prefix: str) -> Any:
    projector = SimpleNamespace(
        spatial_merge_size=2, out_hidden_size=48, input_hidden_size=144, merger_intermediate_size=96
    )
    whole = SimpleNamespace(vision_config=config, text_config=SimpleNamespace(hidden_size=48), projector_hidden_size=96)
    return given(
        module.Cosmos3EdgeVisionModel,
        config=whole,
        vision_config=config,
        projector_config=projector,
        prefix=prefix,
    )


def _onevision(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        hidden_size=192,
        num_attention_heads=2,
        num_hidden_layers=layers,
        intermediate_size=96,
        patch_size=PATCH,
        spatial_merge_size=2,
        num_channels=3,
        frame_windows_size=1,
    )


def _with_positions(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    places = [torch.cartesian_prod(*map(torch.arange, grid)) for grid in grids]
    return model(pixels, torch.tensor(grids), torch.cat(places).to(pixels.device))


def _glm5(module: Any, config: Any, prefix: str) -> Any:
    if importlib.util.find_spec("triton") is None:
        # The norms of its queries and keys are one kernel of Triton.
        module.fused_q_kv_rmsnorm = _two_norms
    return _glm_of("Glm5NextVisionTransformer")(module, config, prefix)


def _two_norms(*given: Any) -> tuple[torch.Tensor, ...]:
    query, key, query_weight, key_weight, epsilon = given
    return tuple(
        (each * torch.rsqrt(each.square().mean(-1, keepdim=True) + epsilon)).to(weight.dtype) * weight
        for each, weight in ((query, query_weight), (key, key_weight))
    )


def _kimi_vl(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    # Its table is made where the platform of the process is, and here that may be another device than the model's.
    model.encoder.rope_2d.device = pixels.device
    return _of_images(model, pixels, grids)


def _exaone(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        depth=layers,
        hidden_size=160,
        num_heads=2,
        # As many as heads: releases repeat keys and then say that there are fewer, which the op refuses.
        num_key_value_heads=2,
        intermediate_size=96,
        out_hidden_size=48,
        patch_size=PATCH,
        temporal_patch_size=2,
        spatial_merge_size=2,
        in_channels=3,
        in_chans=3,
        window_size=16,
        fullatt_block_indexes=[index for index in range(layers) if index % 4 == 3],
        hidden_act="silu",
        tokens_per_second=2,
    )


def _kanana(module: Any, layers: int) -> Any:
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

    return Qwen2VLVisionConfig(
        depth=layers, embed_dim=160, hidden_size=48, num_heads=2, mlp_ratio=1, patch_size=PATCH, in_channels=3
    )


def _with_a_dict(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    return model(pixels, torch.tensor(grids), output_hidden_states=False, return_dict=True)[0]


def _radio(module: Any, layers: int) -> Any:
    return _siglip(
        layers,
        cpe_max_size=32,
        video_temporal_patch_size=1,
        teachers=[],
        cls_token_per_teacher=False,
        register_multiple=8,
        separate_video_embedder=False,
        qkv_bias=True,
        qk_normalization=False,
        norm_type="layer_norm",
        initializer_factor=1.0,
    )


def _with_sizes(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    sizes = [(rows * PATCH, columns * PATCH) for rows, columns in _one_of(grids)]
    return model(pixels.unsqueeze(0), imgs_sizes=sizes)


def _deepseek(module: Any, layers: int) -> Any:
    return SimpleNamespace(
        vision_dim=144,
        vision_n_heads=2,
        vision_n_layers=layers,
        vision_inter_dim=96,
        vision_patch_size=PATCH,
        vision_rope_theta=10000.0,
    )


def _packed_images(model: Any, pixels: torch.Tensor, grids: Grids) -> Any:
    module = importlib.import_module(type(model).__module__)
    made = module.build_packed_vit_metadata(
        _one_of(grids), rope_dim=model.rope_dim, rope_theta=model.rope_theta, device=pixels.device
    )
    return model.forward_packed(pixels, made["vit_cos"], made["vit_sin"], made["cu_seqlens"], made["max_seqlen"])


MORE_ENCODERS = {
    "PaddleOCR-VL": Encoder(
        "paddleocr_vl", lambda _, layers: _siglip(layers), of_class("SiglipVisionModel"), one_frame, call=_paddleocr_vl
    ),
    "GLM-OCR": Encoder("glm_ocr", lambda _, layers: _glm(layers), _glm_of("GlmOcrVisionTransformer"), two_frames),
    "GLM-5.3-Flash": Encoder(
        "vllm.models.glm5next.common.multimodal",
        lambda _, layers: _glm(layers),
        _glm5,
        two_frames,
    ),
    "GLM-5.3-Flash of 0.30": Encoder(
        "vllm.models.glm5next.nvidia.multimodal",
        lambda _, layers: _glm(layers),
        _glm5,
        two_frames,
    ),
    "GLM-5.3-Flash of vllm-ascend": Encoder(
        "vllm_ascend.models.glm5next.multimodal",
        lambda _, layers: _glm(layers),
        _glm5,
        two_frames,
    ),
    "dots.ocr": Encoder("dots_ocr", _dots_ocr, of_class("DotsVisionTransformer"), one_frame),
    "Kimi-VL": Encoder("moonvit", _moonvit, of_class("MoonVitPretrainedModel"), one_frame, call=_kimi_vl),
    "Ernie4.5-VL": Encoder(
        "ernie45_vl", _ernie, of_class("Ernie4_5_VisionTransformer"), _patch_in_a_row, grids_in_a_tensor=True
    ),
    "Ovis2.5": Encoder("siglip2navit", _ovis, of_class("Siglip2NavitModel"), _patch_in_a_row, call=_on_device),
    "MiMo-V2-Omni": Encoder(
        "mimo_v2_omni", _mimo, lambda m, c, p: given(m.MiMoVisionTransformer, vision_cfg=c, prefix=p), two_frames
    ),
    "Keye": Encoder(
        "keye", lambda _, layers: _siglip(layers), of_class("KeyeSiglipVisionModel"), one_frame, call=_keye
    ),
    "Isaac": Encoder("isaac", _isaac, of_class("Siglip2VisionTransformer"), _patch_in_a_row, call=_packed),
    "LFM2-VL": Encoder("lfm2_siglip2", _lfm2, of_class("Siglip2Model"), _patch_in_a_row, call=_phi4),
    "Phi-4 with SigLIP": Encoder("lfm2_siglip2", _lfm2, of_class("Siglip2Model"), _patch_in_a_row, call=_of_phi4),
    "Cosmos3 Edge": Encoder(
        "cosmos3_edge",
        lambda _, layers: _siglip(
            layers, num_patches=36, attention_dropout=0.0, vision_use_head=False, spatial_merge_size=2
        ),
        _cosmos,
        _patch_in_a_row,
    ),
    "LLaVA-OneVision-2": Encoder(
        "llava_onevision2",
        _onevision,
        lambda m, c, p: given(m.LlavaOnevision2VisionTower, vision_config=c, text_hidden_size=48, prefix=p),
        one_frame,
        call=_with_positions,
    ),
    "EXAONE-4.5": Encoder("exaone4_5", _exaone, of_class("EXAONE4_5_VisionTransformer"), two_frames),
    "Kanana-V": Encoder("kanana_v", _kanana, lambda m, c, _: m.CustomQwen2VLVE(c), two_frames, call=_with_a_dict),
    "RADIO": Encoder("radio", _radio, of_class("RadioInternVisionModel"), _patch_in_a_row, call=_with_sizes),
    "DeepSeek-V4": Encoder(
        "vllm.models.deepseek_v4.common.vision",
        _deepseek,
        lambda m, c, _: m.DeepseekV4ViT(c),
        _patch_in_a_row,
        call=_packed_images,
    ),
} | PICTURE_ENCODERS
