#!/usr/bin/env python3
"""Writes a complete, tiny Qwen2.5-VL checkpoint with random weights: windows and whole frames alternate in its layers.

Nothing but the standard library, so that the file is the same, byte for byte, whatever is installed.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import tiny_qwen3_vl as tiny

# Windows of 112 pixels are 4 by 4 merged patches, so that an image of more than 112 by 112 has several.
VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 144,
    "num_heads": 2,
    "intermediate_size": 288,
    "out_hidden_size": 128,
    "patch_size": 14,
    "spatial_patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [1, 3],
    "tokens_per_second": 2,
    "in_channels": 3,
    "in_chans": 3,
    "hidden_act": "silu",
    "model_type": "qwen2_5_vl",
}
TEXT: dict[str, Any] = {
    "vocab_size": tiny.TEXT["vocab_size"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8192,
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]},
    "model_type": "qwen2_5_vl_text",
    "architectures": ["Qwen2_5_VLTextModel"],
}
CONFIG = {
    **{name: tiny.CONFIG[name] for name in ("dtype", "tie_word_embeddings", "image_token_id", "video_token_id")},
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "vision_start_token_id": tiny.TOKEN_ID["<|vision_start|>"],
    "vision_end_token_id": tiny.TOKEN_ID["<|vision_end|>"],
    "vision_token_id": tiny.TOKEN_ID["<|vision_pad|>"],
    "text_config": TEXT,
    "vision_config": VISION,
}
PIXELS = {
    "processor_class": "Qwen2_5_VLProcessor",
    "patch_size": VISION["patch_size"],
    "temporal_patch_size": VISION["temporal_patch_size"],
    "merge_size": VISION["spatial_merge_size"],
    "min_pixels": 56 * 56,
    "max_pixels": 448 * 448,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 448 * 448},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def write(folder: str | Path, *, seed: int = 0) -> Path:
    """Write the checkpoint into ``folder``, which is made if need be, and return it."""
    files = {
        **tiny.TEXT_FILES,
        "config.json": CONFIG,
        "preprocessor_config.json": {**PIXELS, "image_processor_type": "Qwen2VLImageProcessorFast"},
        "video_preprocessor_config.json": {**PIXELS, "video_processor_type": "Qwen2VLVideoProcessor"},
    }
    return tiny.write_files(Path(folder), files, _shapes(), random.Random(seed))


def _shapes() -> dict[str, tuple[int, ...]]:
    return {**_text_shapes(), **_vision_shapes(), "lm_head.weight": (TEXT["vocab_size"], TEXT["hidden_size"])}


def _text_shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner = TEXT["hidden_size"], TEXT["intermediate_size"]
    keys = hidden * TEXT["num_key_value_heads"] // TEXT["num_attention_heads"]
    layer = {
        "input_layernorm.weight": (hidden,),
        **tiny.with_bias("self_attn.q_proj", hidden, hidden),
        **tiny.with_bias("self_attn.k_proj", keys, hidden),
        **tiny.with_bias("self_attn.v_proj", keys, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (TEXT["vocab_size"], hidden), "norm.weight": (hidden,)}
    for number in range(TEXT["num_hidden_layers"]):
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    return {f"model.language_model.{name}": shape for name, shape in shapes.items()}


def _vision_shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner, out = VISION["hidden_size"], VISION["intermediate_size"], VISION["out_hidden_size"]
    merged = hidden * VISION["spatial_merge_size"] ** 2
    block = {
        "norm1.weight": (hidden,),
        **tiny.with_bias("attn.qkv", 3 * hidden, hidden),
        **tiny.with_bias("attn.proj", hidden, hidden),
        "norm2.weight": (hidden,),
        **tiny.with_bias("mlp.gate_proj", inner, hidden),
        **tiny.with_bias("mlp.up_proj", inner, hidden),
        **tiny.with_bias("mlp.down_proj", hidden, inner),
    }
    patch = (VISION["in_channels"], VISION["temporal_patch_size"], VISION["patch_size"], VISION["patch_size"])
    shapes = {
        "patch_embed.proj.weight": (hidden, *patch),
        "merger.ln_q.weight": (hidden,),
        **tiny.with_bias("merger.mlp.0", merged, merged),
        **tiny.with_bias("merger.mlp.2", out, merged),
    }
    for number in range(VISION["depth"]):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    return {f"model.visual.{name}": shape for name, shape in shapes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--seed", type=int, default=0, help="other weights (default: %(default)s)")
    arguments = parser.parse_args()
    print(write(arguments.folder, seed=arguments.seed))


if __name__ == "__main__":
    main()
