"""vLLM's custom ops to test with: modules whose forward calls the method that was chosen when they were made."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from ascend_patches.npu.encoder_attention import Standing, forward
from ascend_patches.npu.neighbours import stands_for
from ascend_patches.npu.rotary_mul import Rotation
from ascend_patches.patches.mm_encoder_attention.plans import Release, plan_of
from ascend_patches.patches.rotary_embedding import replacements as rotary

HEADS, SIZE = 2, 72


class CustomOp(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._forward_method = self.forward_oot

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward_method(*args, **kwargs)


def attention_of(kernel: str, *, size: int = SIZE) -> CustomOp:
    """As mm-encoder-attention makes of a release's attention with that kernel."""
    release = Release(kernel=lambda: kernel)

    class Attention(CustomOp):
        scale, head_size, num_heads, num_kv_heads = 0.1, size, HEADS, HEADS
        calls = 0

        def forward_oot(self, query: Any, key: Any, value: Any, cu_seqlens: Any, max_seqlen: Any) -> torch.Tensor:
            type(self).calls += 1
            return forward(plan_of(self, release), query, key, value, cu_seqlens)

    stands_for(Attention.forward_oot, Standing(lambda layer: plan_of(layer, release), lambda: True))
    return Attention()


class ApplyRotaryEmb(CustomOp):
    """As rotary-embedding makes of a release's rotation."""

    is_neox_style, enable_fp32_compute, calls = True, False, 0

    def forward_oot(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return rotary.forward_oot(self, x, cos, sin)

    def _pre_process(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        return x, cos, sin, x.shape, x.dtype

    def _post_process(self, output: torch.Tensor, shape: Any, dtype: Any) -> torch.Tensor:
        return output


stands_for(ApplyRotaryEmb.forward_oot, Rotation(lambda: True))


@pytest.fixture
def custom_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """That class is vLLM's, as far as this process knows."""
    module = ModuleType("vllm.model_executor.custom_op")
    module.CustomOp = CustomOp  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ApplyRotaryEmb, "calls", 0)
