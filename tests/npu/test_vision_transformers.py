"""Advice around encoders: which lengths their layers know, and that nothing is said where nothing can be known."""

from __future__ import annotations

from typing import Any

import torch

import emulated_npu
from ascend_patches.npu import vision_transformers as advice
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import known_lengths

GRIDS = [[1, 4, 6], [2, 8, 4]]
PATCHES = 24 + 64


class Model:
    """An encoder that makes its boundaries in its forward, or apart, and tells what its layers would know of them."""

    def forward(self, x: Any, grid_thw: Any, *lengths: list[int]) -> list[tuple[int, ...] | None]:
        found = [known_lengths(boundaries(each), sum(each)) for each in lengths]
        return [None if one is None else one.values for one in found]

    def prepare(self, grids: Any, *, cu_seqlens: list[int]) -> dict[str, Any]:
        return {"cu_seqlens": boundaries(cu_seqlens)}


def boundaries(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to("npu")


def asked(around: Any, grids: Any, *lengths: list[int]) -> list[tuple[int, ...] | None]:
    model = Model()
    found: list[tuple[int, ...] | None] = around(model.forward, model, (None, grids, *lengths), {})
    return found


def test_frames_are_sequences() -> None:
    assert asked(advice.one_call_of_frames, GRIDS, [24, 32, 32]) == [(24, 32, 32)]


def test_clips_are_sequences() -> None:
    assert asked(advice.one_call_of_clips, GRIDS, [24, 64]) == [(24, 64)]


def test_grids_in_a_tensor_on_the_host_are_read() -> None:
    assert asked(advice.one_call_of_frames, torch.tensor(GRIDS), [24, 32, 32]) == [(24, 32, 32)]


def test_grids_on_the_device_are_not() -> None:
    on_device = torch.tensor(GRIDS).to("npu")
    with emulated_npu.record() as log:
        assert asked(advice.one_call_of_frames, on_device, [24, 32, 32]) == [None]
    assert log.device_to_host == []


def test_without_grids_only_the_call_is_opened() -> None:
    assert asked(advice.one_call_of_frames, None, [24, 32, 32]) == [None]
    assert advice.one_call(lambda: current_call() is not None, None, (), {}) is True
    assert current_call() is None


def test_prepared_lengths_are_known_by_their_tensor_and_filled_up_with_empty_sequences() -> None:
    model = Model()

    def forward() -> tuple[int, ...] | None:
        metadata = advice.frames_prepared(model.prepare, model, (GRIDS,), {"cu_seqlens": [24, 32, 32, 0]})
        found = known_lengths(metadata["cu_seqlens"])
        return None if found is None else found.values

    assert advice.one_call(forward, model, (), {}) == (24, 32, 32, 0)


def test_boundaries_that_cannot_be_those_of_the_grids_are_left_alone() -> None:
    model = Model()

    def forward() -> Any:
        metadata = advice.frames_prepared(model.prepare, model, (GRIDS,), {"cu_seqlens": [PATCHES]})
        return known_lengths(metadata["cu_seqlens"])

    assert advice.one_call(forward, model, (), {}) is None


def test_while_a_compiler_traces_the_forward_is_the_release_s_own() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def advised(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = advice.one_call(forward, None, (x,), {})
        return result

    torch._dynamo.reset()
    compiled = torch.compile(advised, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
