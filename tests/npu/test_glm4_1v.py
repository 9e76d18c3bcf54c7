"""The forward of GLM-4.1V's encoder: it knows on the host what the release asks the device for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import glm4_1v as replacements

GRIDS = [[1, 2, 4], [2, 2, 2]]
TOKENS, WIDTH = 16, 3


class Model:
    """Embeds, and notes with what; its only block notes the lengths that its attention would know."""

    spatial_merge_size, out_hidden_size, dtype = 2, 4 * WIDTH, torch.float32

    def __init__(self) -> None:
        self.device = torch.device("npu")
        self.blocks = [self.block]
        self.counted: Any = None
        self.told: Any = None

    def patch_embed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    post_conv_layernorm = post_layernorm = merger = patch_embed

    def rot_pos_emb(self, grids: torch.Tensor) -> tuple[Any, ...]:
        return None, None, torch.zeros(TOKENS, 2, dtype=torch.long)

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> None:
        return None

    def embeddings(self, hidden: Any, lengths: Any, shapes: Any, rows: Any, columns: Any) -> torch.Tensor:
        self.counted = (lengths.device.type, lengths.tolist(), shapes.device.type)
        return hidden + 1.0

    def block(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, **given: Any) -> torch.Tensor:
        known = known_lengths(cu_seqlens)
        self.told = (known and known.values, hidden.shape)
        return hidden

    def downsample(self, squares: torch.Tensor) -> torch.Tensor:
        return squares.contiguous()


def pixels() -> torch.Tensor:
    return torch.zeros(TOKENS, WIDTH).to("npu")


@pytest.mark.parametrize("grids", [GRIDS, torch.tensor(GRIDS)])
def test_frames_are_known_to_embeddings_and_layers_without_a_copy(grids: Any) -> None:
    model = Model()
    with emulated_npu.record() as log:
        output = replacements.forward_0_13(model, pixels(), grids)
    assert model.counted == ("cpu", [8, 4, 4], "cpu")
    assert model.told == ((8, 4, 4), (TOKENS, 1, WIDTH))
    assert output.shape == (TOKENS // 4, 4 * WIDTH)
    assert log.device_to_host == []


def test_a_captured_graph_is_the_release_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "upstream_forward", lambda *_: "upstream", raising=False)
    with torch.npu.graph(torch.npu.NPUGraph()):
        found: Any = replacements.forward_0_13(Model(), pixels(), GRIDS)
    assert found == "upstream"
