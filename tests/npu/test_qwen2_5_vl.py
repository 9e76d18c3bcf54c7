"""The forward of Qwen2.5-VL's encoder: what its blocks are told, and when the release's own runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import qwen2_5_vl as replacements

GRIDS = [[1, 2, 4], [2, 2, 2]]
TOKENS, UNIT, WIDTH = 16, 4, 3


class Block:
    """Notes the lengths that its attention would know; of the hidden states it makes the next."""

    def __init__(self) -> None:
        self.told: tuple[int, ...] | None = None
        self.seen: torch.Size | None = None

    def __call__(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, **given: Any) -> torch.Tensor:
        lengths = known_lengths(cu_seqlens, TOKENS)
        self.told, self.seen = lengths.values if lengths is not None else None, hidden.shape
        assert torch.equal(given["rotary_pos_emb_cos"].cpu(), torch.arange(TOKENS))
        return hidden + 1


class Model:
    """Of an image, its two halves are windows, and the later one comes first."""

    fullatt_block_indexes, spatial_merge_unit, dtype = [1], UNIT, torch.float32

    def __init__(self) -> None:
        self.device = torch.device("npu")
        self.blocks = [Block(), Block()]
        self.read: list[tuple[int, ...]] = []

    def patch_embed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def merger(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.reshape(TOKENS // UNIT, -1)

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(())

    def get_rope_by_thw(self, frames: int, rows: int, columns: int) -> tuple[Any, ...]:
        count = frames * rows * columns
        first = 0 if frames == 1 else TOKENS // 2
        tables = torch.arange(first, first + count)
        self.read.append((frames, rows, columns))
        return tables, tables, *self.get_window_index_thw(frames, rows, columns), None

    def get_window_index_thw(self, frames: int, rows: int, columns: int) -> tuple[Any, ...]:
        return torch.arange(frames * rows * columns // UNIT).flip(0), torch.tensor([4, 4, 8])


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose forward tells that it ran, and whether in an encoder call."""
    monkeypatch.setattr(
        replacements, "upstream_forward", lambda *_, **__: ("upstream", current_call() is not None), raising=False
    )


def pixels() -> torch.Tensor:
    return torch.arange(TOKENS * WIDTH, dtype=torch.float32).view(TOKENS, WIDTH).to("npu")


def test_full_layers_know_frames_and_the_others_windows_without_a_copy() -> None:
    model = Model()
    with emulated_npu.record() as log:
        replacements.forward_0_13(model, pixels(), GRIDS)
    assert [block.told for block in model.blocks] == [(4, 4, 4, 4), (8, 4, 4)]
    # The assertion in a block reads cos.
    assert [copy.shape for copy in log.device_to_host] == [(TOKENS,), (TOKENS,)]


def test_merged_tokens_come_back_in_the_order_of_the_images() -> None:
    output = replacements.forward_0_13(Model(), pixels(), GRIDS).cpu()
    assert torch.equal(output, (pixels() + 2).cpu().view(TOKENS // UNIT, -1))


def test_blocks_of_another_attention_get_a_batch_of_one() -> None:
    model = Model()
    replacements.forward_0_13(model, pixels(), GRIDS)
    assert model.blocks[0].seen == (TOKENS, 1, WIDTH)


def test_metadata_that_was_prepared_elsewhere_is_for_the_release() -> None:
    found: Any = replacements.forward_0_21(Model(), pixels(), GRIDS, encoder_metadata={})
    assert found == ("upstream", True)


def test_a_captured_graph_is_the_release_s_own() -> None:
    with torch.npu.graph(torch.npu.NPUGraph()):
        found: Any = replacements.forward_0_13(Model(), pixels(), GRIDS)
    assert found == ("upstream", False)


def test_compiled_blocks_are_called_by_the_release_and_their_attention_knows_the_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forward(*_: Any) -> list[tuple[int, ...]]:
        made = [torch.tensor([0, *ends], dtype=torch.int32).to("npu") for ends in ([8, 12, 16], [4, 8, 12, 16])]
        return [known.values for known in (known_lengths(each, TOKENS) for each in made) if known is not None]

    monkeypatch.setattr(replacements, "upstream_forward", forward, raising=False)
    model: Any = Model()
    model.blocks = [SimpleNamespace(do_not_compile=False)]
    found: Any = replacements.forward_0_13(model, pixels(), GRIDS)
    assert found == [(8, 4, 4), (4, 4, 4, 4)]
    # It is the release that reads what the model keeps, and that counts it.
    assert model.read == []


def test_what_the_model_keeps_of_a_size_is_read_once_for_each_image() -> None:
    model = Model()
    replacements.forward_0_13(model, pixels(), GRIDS)
    assert model.read == [tuple(grid) for grid in GRIDS]
