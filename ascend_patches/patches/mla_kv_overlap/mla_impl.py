"""The attention of vllm-ascend 0.13 and later, ``AscendMLAImpl``, with what the preparation of a decode step needs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from ascend_patches.checks.seeded import random

TOKENS = 4
# What the ops for latent attention take, and no other sizes.
LATENT, ROPE = 512, 64


@dataclass(frozen=True)
class Sizes:
    """What differs between models, and with the number of NPUs that share one."""

    heads: int = 32
    query_rank: int = 96
    nope: int = 32
    value: int = 32
    hidden: int = 64
    block: int = 16
    blocks: int = 8


SMALL = Sizes()


class Linear:
    """A projection as vLLM's layers are called: the result and no bias."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def __call__(self, x: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        return torch.nn.functional.linear(x, self.weight), None


def make(dtype: torch.dtype = torch.bfloat16, kind: type | None = None, sizes: Sizes = SMALL, **attributes: Any) -> Any:
    """The attention, without the configuration of a server around it."""
    # From 0.21 the attention cannot be imported before the ops: they import each other.
    import vllm_ascend.ops  # noqa: F401
    from vllm_ascend.attention.mla_v1 import AscendMLAImpl

    impl = object.__new__(kind or AscendMLAImpl)

    def weight(name: str, *shape: int) -> torch.Tensor:
        return (random(name, *shape, dtype=dtype) * 0.05).npu()

    given = {
        "num_heads": sizes.heads,
        "num_kv_heads": 1,
        "kv_lora_rank": LATENT,
        "qk_nope_head_dim": sizes.nope,
        "qk_rope_head_dim": ROPE,
        "qk_head_dim": sizes.nope + ROPE,
        "v_head_dim": sizes.value,
        "enable_kv_nz": False,
        "fa_quant_layer": False,
        "support_fp8_attention": False,
        "use_mla_rope": True,
        "mlapo_num_heads": sizes.heads,
        "q_proj": Linear(weight("q_proj", sizes.heads * (sizes.nope + ROPE), sizes.query_rank)),
        "o_proj": Linear(weight("o_proj", sizes.hidden, sizes.heads * sizes.value)),
        "kv_a_layernorm": SimpleNamespace(weight=weight("kv_a_layernorm", LATENT), variance_epsilon=1e-6),
        "W_UK_T": weight("W_UK_T", sizes.heads, sizes.nope, LATENT),
        "W_UV": weight("W_UV", sizes.heads, LATENT, sizes.value),
    }
    vars(impl).update(given | attributes)
    return impl


class Step:
    """The inputs of one step: ``decodes`` of its tokens are decoded, the others are a prefill's."""

    def __init__(
        self, dtype: torch.dtype = torch.bfloat16, decodes: int = TOKENS, tokens: int = TOKENS, sizes: Sizes = SMALL
    ) -> None:
        def tensor(name: str, *shape: int) -> torch.Tensor:
            return random(name, *shape, dtype=dtype).npu()

        self.q_c = tensor("q_c", tokens, sizes.query_rank)
        self.kv = tensor("kv", tokens, LATENT + ROPE)
        self.latents = tensor("latents", sizes.blocks, sizes.block, 1, LATENT)
        self.ropes = tensor("ropes", sizes.blocks, sizes.block, 1, ROPE)
        self.cos, self.sin = tensor("cos", decodes, 1, 1, ROPE), tensor("sin", decodes, 1, 1, ROPE)
        self.slots = (torch.arange(tokens, dtype=torch.int32) * 37 % (sizes.blocks * sizes.block)).npu()
        self.attended = tensor("attended", sizes.heads, tokens, LATENT)
        self.metadata = SimpleNamespace(
            num_decode_tokens=decodes,
            slot_mapping=self.slots,
            decode=SimpleNamespace(cos=self.cos, sin=self.sin),
        )

    def run(self, impl: Any, **more: Any) -> dict[str, torch.Tensor]:
        """Everything that the preparation gives and writes, and the values of what was attended to."""
        with torch.no_grad():
            result = impl.mla_preprocess_decode(self.q_c, self.kv, (self.latents, self.ropes), self.metadata, **more)
            values = impl._v_up_proj(self.attended)
        given = {name: tensor for name, tensor in result._asdict().items() if tensor is not None}
        return {**given, "latents": self.latents, "ropes": self.ropes, "values": values}

    def names(self, impl: Any) -> dict[str, torch.Tensor]:
        of_step = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return of_step | {
            "q_proj": impl.q_proj.weight,
            "o_proj": impl.o_proj.weight,
            "kv_a_layernorm": impl.kv_a_layernorm.weight,
            "W_UK_T": impl.W_UK_T,
            "W_UV": impl.W_UV,
        }
