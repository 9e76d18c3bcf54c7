"""The forward of Qwen3-Omni's vision encoder: what its blocks are told, and when the release's own runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import qwen3_omni as replacements

GRIDS = [[1, 2, 4], [2, 2, 2]]
FRAMES = (8, 4, 4)
TOKENS, WIDTH, SIDE = 16, 3, 4


class Model:
    """Its only block notes what it is told, and the lengths that its attention would know."""

    spatial_merge_size, num_grid_per_side, dtype, attn_backend = 2, SIDE, torch.float32, None
    apply_vit_abs_pos_embed, deepstack_visual_indexes = True, None

    def __init__(self) -> None:
        self.device = torch.device("npu")
        self.blocks = [self.block]
        self.pos_embed = torch.nn.Embedding(SIDE * SIDE, WIDTH, device="npu")
        self.rotary_pos_emb = self
        self.told: Any = None

    def get_cos_sin(self, largest: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(largest, 1, device="npu"), torch.zeros(largest, 1, device="npu")

    def patch_embed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    merger = patch_embed

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(())

    def block(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, **given: Any) -> torch.Tensor:
        known = known_lengths(cu_seqlens)
        self.told = (known and known.values, cu_seqlens.device.type)
        return hidden


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    class Attention:
        @staticmethod
        def maybe_compute_seq_lens(*_: Any) -> None:
            return None

    monkeypatch.setattr(replacements, "encoder_attention", lambda: Attention)
    monkeypatch.setattr(replacements, "upstream_forward", lambda *_: current_call(), raising=False)


def run(forward: Any, model: Any, grids: Any) -> Any:
    with torch.inference_mode():
        return forward(model, torch.zeros(TOKENS, WIDTH, device="npu"), grids)


@pytest.mark.parametrize(
    ("forward", "device"), [("forward_0_13", "cpu"), ("forward_0_18", "cpu"), ("forward_0_24", "npu")]
)
def test_blocks_are_given_boundaries_where_the_release_has_them(forward: str, device: str) -> None:
    model = Model()
    run(getattr(replacements, forward), model, torch.tensor(GRIDS))
    assert model.told == (FRAMES, device)


def test_the_host_waits_for_nothing() -> None:
    model = Model()
    with emulated_npu.record() as log:
        run(replacements.forward_0_24, model, torch.tensor(GRIDS))
    assert (len(log.host_to_device), log.waits) == (1, [])


def test_grids_on_the_device_are_left_to_the_release() -> None:
    model = Model()
    assert run(replacements.forward_0_18, model, torch.tensor(GRIDS).to("npu")) is not None
    assert model.told is None


def test_while_a_graph_is_captured_the_release_s_own_runs_in_no_call() -> None:
    model = Model()
    with torch.npu.graph(torch.npu.NPUGraph()):
        assert run(replacements.forward_0_18, model, torch.tensor(GRIDS)) is None
    assert model.told is None
