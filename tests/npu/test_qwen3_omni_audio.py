"""The forward of Qwen3-Omni's audio encoder: what is read of lengths, what layers know, and when upstream's runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.vision_seq_lens import qwen3_omni_audio as replacement

BINS, WIDTH = 8, 6
UPSTREAM = "upstream's forward, in an encoder call: "


class Model(torch.nn.Module):
    """Chunks of 16 frames, of which convolutions leave 2; windows of two. Its only layer notes what it is told."""

    n_window, n_window_infer = 8, 32

    def __init__(self, conv_chunksize: int = 100) -> None:
        super().__init__()
        self.conv_chunksize = conv_chunksize
        self.conv2d1 = torch.nn.Conv2d(1, 2, 3, 2, padding=1)
        self.conv2d2 = torch.nn.Conv2d(2, 2, 3, 2, padding=1)
        self.conv2d3 = torch.nn.Conv2d(2, 2, 3, 2, padding=1)
        self.conv_out = torch.nn.Linear(2, WIDTH, bias=False)
        self.positional_embedding = torch.nn.Module()
        self.positional_embedding.register_buffer("positional_embedding", torch.randn(4, WIDTH))
        self.layers = [self.layer]
        self.ln_post = self.proj1 = self.act = self.proj2 = torch.nn.Identity()
        self.told: Any = None

    def compute_attn_mask_seqlen(self, cu_seqlens: torch.Tensor) -> None:
        return None

    def layer(self, hidden: torch.Tensor, cu_seqlens: torch.Tensor, longest: Any) -> torch.Tensor:
        known = known_lengths(cu_seqlens)
        self.told = (known and known.values, cu_seqlens.device.type, cu_seqlens.dtype)
        return hidden


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = lambda *_: f"{UPSTREAM}{current_call() is not None}"  # noqa: E731
    monkeypatch.setattr(replacement, "upstream_forward", upstream, raising=False)


def lengths(*frames: int, device: str = "npu") -> tuple[torch.Tensor, torch.Tensor]:
    convolved = [2 * (count // 16) + -(-(count % 16) // 8) for count in frames]
    return torch.tensor(frames).to(device), torch.tensor(convolved).to(device)


def run(model: Model, frames: torch.Tensor, convolved: torch.Tensor) -> Any:
    features = torch.randn(BINS, int(frames.sum()), generator=torch.Generator().manual_seed(1)).to("npu")
    return replacement.forward(model, features, frames, convolved)


@pytest.mark.parametrize(
    ("frames", "windows"),
    [((70, 16, 33), (4, 4, 1, 2, 4, 1)), ((48,), (4, 2)), ((9,), (2,)), ((32,), (4,))],
)
def test_layers_know_the_windows_of_each_recording(frames: tuple[int, ...], windows: tuple[int, ...]) -> None:
    model = Model().to("npu")
    assert run(model, *lengths(*frames)).shape == (sum(windows), WIDTH)
    assert model.told == (windows, "npu", torch.int32)


def test_lengths_are_read_in_one_copy_and_nothing_else_is() -> None:
    given = lengths(70, 16, 33)
    with torch.inference_mode():
        model, features = Model().to("npu"), torch.randn(BINS, 119).to("npu")
        with emulated_npu.record() as log:
            replacement.forward(model, features, *given)
    assert len(log.device_to_host) == 1
    assert len(log.waits) == 1, "for that copy"


def test_rows_of_padding_are_left_out_as_upstream_leaves_them_out() -> None:
    """Recordings one by one, none of which is padded to another's length, have the same rows."""
    torch.manual_seed(0)
    model = Model().to("npu")
    together = run(model, *lengths(16, 9))
    features = torch.randn(BINS, 25, generator=torch.Generator().manual_seed(1)).to("npu")
    alone = [replacement.forward(model, part, *lengths(part.shape[1])) for part in features.split([16, 9], dim=1)]
    assert torch.equal(together[: len(alone[0])].cpu(), alone[0].cpu())
    assert len(together) == sum(map(len, alone))


def test_chunks_are_convolved_in_batches_where_there_are_many() -> None:
    torch.manual_seed(0)
    model = Model().to("npu")
    whole = run(model, *lengths(70, 16))
    model.conv_chunksize = 2
    assert torch.equal(run(model, *lengths(70, 16)).cpu(), whole.cpu())


OF_UPSTREAM = {
    "of nothing": lambda: lengths(16, 0),
    "on the host": lambda: lengths(16, device="cpu"),
    "of two types": lambda: (lengths(16)[0], lengths(16)[1].int()),
    "no whole numbers": lambda: tuple(each.float() for each in lengths(16)),
    "of two counts": lambda: (lengths(16)[0], lengths(16, 9)[1]),
}


@pytest.mark.parametrize("given", OF_UPSTREAM.values(), ids=OF_UPSTREAM)
def test_upstream_has_its_way_with_lengths_that_are_none(given: Callable[[], Any]) -> None:
    frames, convolved = given()
    features = torch.randn(BINS, 16).to("npu")
    assert replacement.forward(Model().to("npu"), features, frames, convolved) == f"{UPSTREAM}True"
