"""MLA attention layers of vllm-ascend 0.9.1rc1 as it makes them itself, and decode steps for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks.seeded import random

HIDDEN, HEADS, QUERY_RANK = 64, 32, 96
LATENT, ROPE, NOPE, VALUE = 512, 64, 32, 32
BLOCK, BLOCKS, LONGEST = 16, 8, 64
LENGTHS = (5, 10, 18, 7)


def layer(
    dtype: torch.dtype = torch.bfloat16,
    *,
    dual_batch: bool = False,
    query_rank: int | None = QUERY_RANK,
    guessed: int = 0,
    **torchair: bool,
) -> Any:
    """An attention layer with weights that depend on their names only."""
    from vllm_ascend.models.deepseek_dbo import CustomDeepseekDBOMLAAttention
    from vllm_ascend.models.deepseek_v2 import CustomDeepseekV2MLAAttention

    kind = CustomDeepseekDBOMLAAttention if dual_batch else CustomDeepseekV2MLAAttention
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _configured({"enabled": True, "enable_multistream_mla": True, **torchair}, guessed), torch.device("npu"):
            made = kind(
                SimpleNamespace(rms_norm_eps=1e-6),
                HIDDEN,
                HEADS,
                NOPE,
                ROPE,
                VALUE,
                query_rank,
                LATENT,
                max_position_embeddings=LONGEST,
                rope_scaling={
                    "rope_type": "deepseek_yarn",
                    "factor": 4,
                    "original_max_position_embeddings": LONGEST,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                },
                prefix="model.layers.0.self_attn",
            )
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.copy_(random(name, *weight.shape, dtype=dtype) * 0.05)
    made.mla_attn.impl.process_weights_after_loading(dtype)
    return made


@contextmanager
def _configured(torchair: dict[str, bool], guessed: int) -> Iterator[None]:
    """What a layer takes its settings from while it is made."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.distributed.parallel_state import model_parallel_is_initialized
    from vllm_ascend import ascend_config

    before = ascend_config._ASCEND_CONFIG
    config = VllmConfig(additional_config={"refresh": True, "torchair_graph_config": torchair})
    if guessed:
        config.speculative_config = SimpleNamespace(num_speculative_tokens=guessed)
    # Importing the ops gives DeepSeek's rotary embedding the tables that decoding looks positions up in.
    import vllm_ascend.ops  # noqa: F401

    if not model_parallel_is_initialized():
        init_distributed_environment(1, 0, f"file://{tempfile.mkdtemp()}/group", 0, "gloo")
        initialize_model_parallel()
    ascend_config.init_ascend_config(config)
    try:
        with set_current_vllm_config(config):
            yield
    finally:
        ascend_config._ASCEND_CONFIG = before


def caches(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A filled cache of latents and one of rotary keys."""
    latents = random("latents", BLOCKS, BLOCK, 1, LATENT, dtype=dtype)
    return latents.npu(), random("ropes", BLOCKS, BLOCK, 1, ROPE, dtype=dtype).npu()


def metadata(state: str = "DecodeOnly", *, guessed: int = 0, **changes: Any) -> Any:
    """One new token, and ``guessed`` ones, for each of the sequences."""
    from vllm_ascend.attention.attention_v1 import AscendAttentionState
    from vllm_ascend.attention.mla_v1 import AscendMLADecodeMetadata, AscendMLAMetadata

    new = guessed + 1
    table = torch.arange(len(LENGTHS) * 2, dtype=torch.int32).view(-1, 2)
    positions = [length - new + token for length in LENGTHS for token in range(new)]
    slots = [int(table[index // new, at // BLOCK]) * BLOCK + at % BLOCK for index, at in enumerate(positions)]
    mask = torch.triu(torch.ones(2048, 2048), 1).to(torch.int8).npu() if guessed else None
    lengths = torch.tensor(LENGTHS, dtype=torch.int32)
    decode = AscendMLADecodeMetadata(
        torch.tensor(positions).npu(), table.npu(), lengths, max(LENGTHS), list(LENGTHS), attn_mask=mask
    )
    given = {
        "num_actual_tokens": len(positions),
        "slot_mapping": torch.tensor(slots, dtype=torch.int32).npu(),
        "query_start_loc": None,
        "seq_lens": lengths,
        "block_tables": decode.block_table,
        "num_decodes": len(LENGTHS),
        "num_decode_tokens": len(positions),
        "num_prefills": 0,
        "attn_state": AscendAttentionState[state],
        "decode": decode,
    }
    return AscendMLAMetadata(**given | changes)


def hidden(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    return random("hidden", tokens, HIDDEN, dtype=dtype).npu()


def step(attention: Any, of: Any, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """What a decode step gives and writes."""
    latents, ropes = caches(dtype)
    with torch.no_grad():
        output = attention(of.decode.input_positions, hidden(of.num_actual_tokens, dtype), (latents, ropes), of)
    return {"output": output, "latents": latents, "ropes": ropes}


def names(attention: Any, of: Any) -> dict[str, torch.Tensor]:
    """What a step works on, by name."""
    impl = attention.mla_attn.impl
    weights = {name.removesuffix(".weight"): weight for name, weight in attention.named_parameters()}
    return weights | {
        "W_UK_T": impl.W_UK_T,
        "W_UV": impl.W_UV,
        "cos_table": impl.rotary_emb.cos_cached,
        "sin_table": impl.rotary_emb.sin_cached,
        "positions": of.decode.input_positions,
        "slots": of.slot_mapping,
        "blocks": of.decode.block_table,
    }
