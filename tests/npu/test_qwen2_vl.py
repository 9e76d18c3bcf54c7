"""The forward of Qwen2-VL's encoder: what its blocks are told, and when the release's own runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import qwen2_vl as replacements

GRIDS = [[1, 2, 4], [2, 2, 2]]
PLACES = [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3], *[[0, 0], [0, 1], [1, 0], [1, 1]] * 2]
TOKENS, WIDTH = 16, 3


class Block:
    """Notes what it is told, and the lengths that its attention would know."""

    def __init__(self) -> None:
        self.attn = SimpleNamespace(tp_size=1)
        self.told: Any = None
        self.turned: Any = None

    def __call__(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, **given: Any) -> torch.Tensor:
        known = known_lengths(cu_seqlens)
        self.told = (known and known.values, hidden.shape)
        self.turned = given["rotary_pos_emb_cos"]
        return hidden


class Model:
    spatial_merge_size, dtype = 2, torch.float32

    def __init__(self) -> None:
        self.device = torch.device("npu")
        self.blocks = [Block()]
        self.rotary_pos_emb = self

    def patch_embed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    merger = patch_embed

    def get_cos_sin(self, largest: int) -> tuple[torch.Tensor, torch.Tensor]:
        table = torch.arange(largest, device="npu").unsqueeze(1)
        return table, table

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> None:
        return None


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "upstream_forward", lambda *_, **__: current_call(), raising=False)


def run(forward: Any, model: Any, grids: Any, **given: Any) -> Any:
    with torch.inference_mode():
        return forward(model, torch.zeros(TOKENS, WIDTH, device="npu"), grids, **given)


@pytest.mark.parametrize("grids", [GRIDS, torch.tensor(GRIDS)])
@pytest.mark.parametrize("forward", ["forward_0_13", "forward_0_22", "forward_0_23"])
def test_frames_are_known_and_every_patch_turns_by_its_place(forward: str, grids: Any) -> None:
    model = Model()
    run(getattr(replacements, forward), model, grids)
    assert model.blocks[0].told == ((8, 4, 4), (TOKENS, 1, WIDTH))
    assert model.blocks[0].turned.cpu().tolist() == PLACES


def test_the_host_waits_for_nothing_and_copies_once() -> None:
    model = Model()
    with emulated_npu.record() as log:
        run(replacements.forward_0_23, model, GRIDS)
    assert (len(log.host_to_device), log.waits, log.device_to_host) == (1, [], [])


def test_grids_on_the_device_and_metadata_are_left_to_the_release() -> None:
    model = Model()
    assert run(replacements.forward_0_23, model, torch.tensor(GRIDS).to("npu")) is not None
    assert run(replacements.forward_0_23, model, None, encoder_metadata={}) is not None
    assert model.blocks[0].told is None


def test_while_a_graph_is_captured_the_release_s_own_runs_in_no_call() -> None:
    model = Model()
    with torch.npu.graph(torch.npu.NPUGraph()):
        assert run(replacements.forward_0_13, model, GRIDS) is None
    assert model.blocks[0].told is None
