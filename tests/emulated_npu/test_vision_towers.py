"""The vision towers of Qwen2-VL and Qwen3-VL give the same output on the emulated npu as on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import emulated_npu

# transformers is imported where it is used: beside some builds of torch it cannot be, for a torchvision without its
# operators, and other tests of this folder run there.
pytestmark = pytest.mark.usefixtures("npu")

GRIDS = torch.tensor([[1, 4, 6], [2, 8, 4], [1, 2, 2]])
PATCH_VALUES = 3 * 2 * 14 * 14


def qwen2_vl(attention: str) -> torch.nn.Module:
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

    config = Qwen2VLVisionConfig(
        depth=3, embed_dim=144, num_heads=2, hidden_size=64, mlp_ratio=2, patch_size=14, attn_implementation=attention
    )
    return Qwen2VisionTransformerPretrainedModel(config)


def qwen3_vl(attention: str) -> torch.nn.Module:
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    config = Qwen3VLVisionConfig(
        depth=3,
        hidden_size=144,
        num_heads=2,
        intermediate_size=256,
        out_hidden_size=64,
        patch_size=14,
        deepstack_visual_indexes=[0, 1],
        num_position_embeddings=64,
        attn_implementation=attention,
    )
    return Qwen3VLVisionModel(config)


@pytest.fixture(params=[qwen2_vl, qwen3_vl], ids=["Qwen2-VL", "Qwen3-VL"])
def build(request: pytest.FixtureRequest) -> Any:
    return request.param


def tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in tensors(part)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.inference_mode()
def test_vision_tower_gives_the_output_of_the_cpu(build: Any, attention: str) -> None:
    torch.manual_seed(0)
    tower = build(attention).eval()
    pixels = torch.randn(int(GRIDS.prod(1).sum()), PATCH_VALUES)
    expected = tensors(tower(pixels, GRIDS))
    results = tensors(copy.deepcopy(tower).to("npu")(pixels.to("npu"), GRIDS.to("npu")))
    for result, reference in zip(results, expected, strict=True):
        assert result.device == torch.device("npu:0")
        torch.testing.assert_close(result.cpu(), reference, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_counts_of_a_vision_tower_repeat_exactly(build: Any) -> None:
    tower = build("sdpa").eval().to("npu")
    pixels, grids = torch.randn(int(GRIDS.prod(1).sum()), PATCH_VALUES, device="npu"), GRIDS.to("npu")
    logs = []
    for _ in range(2):
        with emulated_npu.record() as log:
            tower(pixels, grids)
        logs.append(log.to_json())
    assert logs[0] == logs[1]
