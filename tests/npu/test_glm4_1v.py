"""The forward of GLM-4.1V's encoder: it knows on the host what the release asks the device for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.encoder_sequences import as_in_0_13
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import glm4_1v as replacements

GRIDS = [[1, 2, 4], [2, 2, 2]]
VIDEO_FIRST = [[2, 2, 2], [1, 2, 4]]
TOKENS, WIDTH, SIDE = 16, 3, 4


class Embeddings(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position_embedding = torch.nn.Embedding(SIDE * SIDE, WIDTH, device="npu")


class Model:
    """Its only block notes the lengths that its attention would know, and what it is given."""

    spatial_merge_size, out_hidden_size, dtype, attn_backend = 2, 4 * WIDTH, torch.float32, None

    def __init__(self) -> None:
        self.device = torch.device("npu")
        self.blocks = [self.block]
        self.embeddings = Embeddings()
        self.rotary_pos_emb = self
        self.told: Any = None
        self.given: Any = None

    def patch_embed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    post_conv_layernorm = post_layernorm = merger = patch_embed

    def get_cos_sin(self, largest: int) -> tuple[torch.Tensor, torch.Tensor]:
        table = torch.arange(largest, device="npu").unsqueeze(1)
        return table, table

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> None:
        return None

    def block(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, **given: Any) -> torch.Tensor:
        known = known_lengths(cu_seqlens)
        self.told = (known and known.values, hidden.shape)
        self.given = hidden, given["rotary_pos_emb_cos"]
        return hidden

    def downsample(self, squares: torch.Tensor) -> torch.Tensor:
        return squares.contiguous()


def pixels() -> torch.Tensor:
    return torch.zeros(TOKENS, WIDTH, device="npu")


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "upstream_forward", lambda *_: "upstream", raising=False)


@torch.no_grad()
def learned(model: Any, rows: int, columns: int) -> torch.Tensor:
    """Plainly: the square of learned positions stretched over an image, its merged patches as neighbours."""
    table = model.embeddings.position_embedding.weight.cpu()
    found = []
    for row, column in of_image(rows, columns):
        at = torch.tensor([[[[(column + 0.5) / columns * 2 - 1, (row + 0.5) / rows * 2 - 1]]]])
        square = table.view(SIDE, SIDE, WIDTH).permute(2, 0, 1).unsqueeze(0)
        found.append(
            torch.nn.functional.grid_sample(square, at, mode="bicubic", align_corners=False, padding_mode="border")
        )
    return torch.cat(found).flatten(1)


def of_image(rows: int, columns: int) -> list[tuple[int, int]]:
    squares = [(row, column) for row in range(0, rows, 2) for column in range(0, columns, 2)]
    return [(row + down, column + along) for row, column in squares for down in (0, 1) for along in (0, 1)]


@pytest.mark.parametrize("grids", [GRIDS, torch.tensor(GRIDS)])
@torch.no_grad()
def test_frames_are_known_to_layers_without_a_copy(grids: Any) -> None:
    model = Model()
    with emulated_npu.record() as log:
        output = replacements.forward_0_13(model, pixels(), grids)
    assert model.told == ((8, 4, 4), (TOKENS, 1, WIDTH))
    assert output.shape == (TOKENS // 4, 4 * WIDTH)
    assert (len(log.host_to_device), log.waits) == (1, [])


@torch.no_grad()
def test_every_patch_has_the_embedding_and_the_turn_of_its_place() -> None:
    model = Model()
    with encoder_call():
        replacements._eagerly(model, pixels(), GRIDS, as_in_0_13, replacements._sizes_of_frames)
    hidden, turned = (each.cpu() for each in model.given)
    expected = torch.cat([learned(model, 2, 4), learned(model, 2, 2), learned(model, 2, 2)])
    assert torch.allclose(hidden.squeeze(1), expected, atol=1e-6)
    assert turned.tolist() == [list(place) for size in ((2, 4), (2, 2), (2, 2)) for place in of_image(*size)]


def test_a_frame_has_the_size_that_its_release_gives_it() -> None:
    assert replacements._sizes_of_frames(VIDEO_FIRST, 3) == [[2, 2, 2], [2, 2, 2], [1, 2, 4]]
    assert replacements._sizes_in_turn(VIDEO_FIRST, 3) == [[2, 2, 2], [1, 2, 4], [2, 2, 2]]


@torch.no_grad()
def test_embeddings_with_a_hook_are_the_release_s_own() -> None:
    model = Model()
    model.embeddings.register_forward_hook(lambda *_: None)
    found: Any = replacements.forward_0_13(model, pixels(), GRIDS)
    assert found == "upstream"


def test_a_captured_graph_is_the_release_s_own() -> None:
    with torch.npu.graph(torch.npu.NPUGraph()):
        found: Any = replacements.forward_0_13(Model(), pixels(), GRIDS)
    assert found == "upstream"
