#!/usr/bin/env python3
"""Writes a complete, tiny Qwen3-VL checkpoint with random weights: enough for vLLM and transformers to serve offline.

Nothing but the standard library, so that the file is the same, byte for byte, whatever is installed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from array import array
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TOKEN_ID = {token: number for number, token in enumerate(SPECIAL_TOKENS)}

# Vision heads of 72 are what Qwen3-VL has: narrower than the 128 that attention kernels are documented for.
VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 144,
    "num_heads": 2,
    "intermediate_size": 288,
    "out_hidden_size": 128,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 256,
    "deepstack_visual_indexes": [0, 1, 2],
    "in_channels": 3,
    "hidden_act": "gelu_pytorch_tanh",
    "model_type": "qwen3_vl",
}
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIAL_TOKENS) + 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "max_position_embeddings": 8192,
    "rope_theta": 1e6,
    "rope_scaling": {"rope_type": "default", "mrope_section": [8, 4, 4], "mrope_interleaved": True},
    "model_type": "qwen3_vl_text",
    # No full-size checkpoint says it, but vLLM 0.28 for CPUs asks for the first one.
    "architectures": ["Qwen3VLTextModel"],
}
CONFIG = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "dtype": "bfloat16",
    "tie_word_embeddings": False,
    "image_token_id": TOKEN_ID["<|image_pad|>"],
    "video_token_id": TOKEN_ID["<|video_pad|>"],
    "vision_start_token_id": TOKEN_ID["<|vision_start|>"],
    "vision_end_token_id": TOKEN_ID["<|vision_end|>"],
    "text_config": TEXT,
    "vision_config": VISION,
}
PIXELS = {
    "processor_class": "Qwen3VLProcessor",
    "patch_size": VISION["patch_size"],
    "temporal_patch_size": VISION["temporal_patch_size"],
    "merge_size": VISION["spatial_merge_size"],
    "size": {"shortest_edge": 64 * 64, "longest_edge": 512 * 512},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- "<|im_start|>" + message.role + "\\n" }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if "text" in part %}
                {{- part.text }}
            {%- elif part.type.startswith("video") %}
                {{- "<|vision_start|><|video_pad|><|vision_end|>" }}
            {%- else %}
                {{- "<|vision_start|><|image_pad|><|vision_end|>" }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
"""
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": TEXT["max_position_embeddings"],
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "chat_template": CHAT_TEMPLATE,
}


def write(folder: str | Path, *, seed: int = 0) -> Path:
    """Write the checkpoint into ``folder``, which is made if need be, and return it."""
    files = {
        **TEXT_FILES,
        "config.json": CONFIG,
        "preprocessor_config.json": {**PIXELS, "image_processor_type": "Qwen2VLImageProcessorFast"},
        "video_preprocessor_config.json": {**PIXELS, "video_processor_type": "Qwen3VLVideoProcessor"},
    }
    return write_files(Path(folder), files, _shapes(), random.Random(seed))


def write_files(folder: Path, files: dict[str, Any], shapes: dict[str, tuple[int, ...]], rng: random.Random) -> Path:
    """Write a checkpoint of these JSON files, with random weights of these shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _write_safetensors(folder / "model.safetensors", shapes, rng)
    return folder


def _byte_level_tokenizer() -> dict[str, Any]:
    """A tokenizer with one token per byte and no merges: it can say everything, if at length."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in TOKEN_ID.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {**TOKEN_ID, **{char: len(TOKEN_ID) + n for n, char in enumerate(sorted(_byte_characters()))}},
            "merges": [],
        },
    }


def _byte_characters() -> Iterator[str]:
    """The printable character that byte-level tokenizers write for each byte."""
    stand_in = 256
    for byte in range(256):
        char = chr(byte)
        if char.isprintable() and not char.isspace():
            yield char
        else:
            yield chr(stand_in)
            stand_in += 1


TEXT_FILES = {
    "generation_config.json": {"eos_token_id": TOKEN_ID["<|im_end|>"], "pad_token_id": TOKEN_ID["<|endoftext|>"]},
    "tokenizer.json": _byte_level_tokenizer(),
    "tokenizer_config.json": TOKENIZER_CONFIG,
}
"""What the checkpoints of other models have in common with this one: the tokenizer's files."""


def _shapes() -> dict[str, tuple[int, ...]]:
    return {**_text_shapes(), **_vision_shapes(), "lm_head.weight": (TEXT["vocab_size"], TEXT["hidden_size"])}


def _text_shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner, head = TEXT["hidden_size"], TEXT["intermediate_size"], TEXT["head_dim"]
    queries, keys = TEXT["num_attention_heads"] * head, TEXT["num_key_value_heads"] * head
    layer = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "self_attn.q_norm.weight": (head,),
        "self_attn.k_norm.weight": (head,),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    shapes = {"embed_tokens.weight": (TEXT["vocab_size"], hidden), "norm.weight": (hidden,)}
    for number in range(TEXT["num_hidden_layers"]):
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    return {f"model.language_model.{name}": shape for name, shape in shapes.items()}


def _vision_shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner, out = VISION["hidden_size"], VISION["intermediate_size"], VISION["out_hidden_size"]
    merged = hidden * VISION["spatial_merge_size"] ** 2
    block = {
        **with_bias("norm1", hidden),
        **with_bias("attn.qkv", 3 * hidden, hidden),
        **with_bias("attn.proj", hidden, hidden),
        **with_bias("norm2", hidden),
        **with_bias("mlp.linear_fc1", inner, hidden),
        **with_bias("mlp.linear_fc2", hidden, inner),
    }
    patch = (VISION["in_channels"], VISION["temporal_patch_size"], VISION["patch_size"], VISION["patch_size"])
    shapes = {
        **with_bias("patch_embed.proj", hidden, *patch),
        "pos_embed.weight": (VISION["num_position_embeddings"], hidden),
        **_merger("merger", norm=hidden, merged=merged, out=out),
    }
    for number in range(VISION["depth"]):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    for number in range(len(VISION["deepstack_visual_indexes"])):
        shapes |= _merger(f"deepstack_merger_list.{number}", norm=merged, merged=merged, out=out)
    return {f"model.visual.{name}": shape for name, shape in shapes.items()}


def _merger(name: str, *, norm: int, merged: int, out: int) -> dict[str, tuple[int, ...]]:
    return {
        **with_bias(f"{name}.norm", norm),
        **with_bias(f"{name}.linear_fc1", merged, merged),
        **with_bias(f"{name}.linear_fc2", out, merged),
    }


def with_bias(name: str, out: int, *inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, *inputs), f"{name}.bias": (out,)}


def _write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]], rng: random.Random) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    offset = 0
    for name, shape in sorted(shapes.items()):
        blobs.append(_bfloat16(_values(name, shape, rng)))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + len(blobs[-1])]}
        offset += len(blobs[-1])
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blobs))


def _values(name: str, shape: tuple[int, ...], rng: random.Random) -> array[float]:
    """Random values of a size that keeps activations alive, so that answers differ from image to image."""
    count = prod(shape)
    if len(shape) == 1 and name.endswith(".weight"):
        return array("f", [1.0]) * count
    if len(shape) == 1:
        deviation = 0.1
    elif "embed" in name and len(shape) == 2:
        deviation = 0.5
    else:
        gain = 3.0 if name.startswith("lm_head") else 1.0
        deviation = gain * prod(shape[1:]) ** -0.5
    return array("f", (rng.gauss(0.0, deviation) for _ in range(count)))


def _bfloat16(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    single = values.tobytes()
    upper_halves = bytearray(len(single) // 2)
    upper_halves[0::2] = single[2::4]
    upper_halves[1::2] = single[3::4]
    return bytes(upper_halves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--seed", type=int, default=0, help="other weights (default: %(default)s)")
    arguments = parser.parse_args()
    print(write(arguments.folder, seed=arguments.seed))


if __name__ == "__main__":
    main()
