"""How advice finds the grids of an encoder, and what it does for forwards that look at them one by one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import emulated_npu
from ascend_patches.npu import vision_transformers as advice
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import known_lengths

GRIDS = [[1, 4, 6], [2, 8, 4]]


def boundaries(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to("npu")


def known(lengths: list[int]) -> tuple[int, ...] | None:
    found = known_lengths(boundaries(lengths), sum(lengths))
    return found.values if found is not None else None


class Model:
    def third(self, x: Any, cu_seqlens: Any = None, image_grid_thw: Any = None) -> Any:
        return known([24, 64])

    def of_shapes(self, x: Any, spatial_shapes: Any) -> Any:
        return known([24, 32])

    def of_clips_and_frames(self, x: Any, grid_thw: Any) -> Any:
        return known([24, 64]), known([24, 32, 32])

    def without(self, x: Any) -> Any:
        return known([24, 64])

    def where(self, x: Any, grid_thw: torch.Tensor) -> Any:
        return str(grid_thw.device), grid_thw.tolist(), known([24, 32, 32])

    def cut(self, x: Any, cu_seqlens: Any = None, image_grid_thw: Any = None) -> Any:
        return str(cu_seqlens.device), cu_seqlens.tolist(), cu_seqlens.dtype

    def table(self, length: Any) -> Any:
        return length

    def packed(self, packed_seq_patches: Any) -> Any:
        return str(packed_seq_patches[1].device), known([24, 32])


@pytest.mark.parametrize(
    ("method", "arguments", "named"),
    [
        pytest.param("third", (None, None, GRIDS), {}, id="by its place"),
        pytest.param("third", (None,), {"image_grid_thw": GRIDS}, id="by its name"),
        pytest.param("third", (None,), {"image_grid_thw": [[(1, 4, 6), (2, 8, 4)]]}, id="in a list of an image's own"),
        pytest.param("third", (None,), {"image_grid_thw": [(np.int64(1), 4, 6), (2, 8, 4)]}, id="of numpy's numbers"),
    ],
)
def test_grids_are_found(method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    model = Model()
    assert advice.one_call_of_clips(getattr(model, method), model, arguments, named) == (24, 64)


def test_a_grid_of_rows_and_columns_is_one_sequence() -> None:
    model = Model()
    assert advice.one_call_of_clips(model.of_shapes, model, (None, [[4, 6], [8, 4]]), {}) == (24, 32)


def test_what_a_row_says_of_sequences_is_all_that_is_known() -> None:
    model = Model()
    assert advice.one_call_of_clips(model.of_clips_and_frames, model, (None, GRIDS), {}) == ((24, 64), None)
    assert advice.one_call_of_frames(model.of_clips_and_frames, model, (None, GRIDS), {}) == (None, (24, 32, 32))


@pytest.mark.parametrize("grids", [None, [], torch.empty(0, 3, dtype=torch.int64)], ids=["none", "empty", "no rows"])
def test_without_grids_nothing_is_known(grids: Any) -> None:
    model = Model()
    assert advice.one_call_of_clips(model.third, model, (None,), {"image_grid_thw": grids}) is None


def test_a_function_without_grids_is_one_call() -> None:
    model = Model()
    assert advice.one_call_of_clips(model.without, model, (None,), {}) is None


def copies_of(call: Callable[[], Any]) -> tuple[Any, int]:
    with emulated_npu.record() as log:
        found = call()
    return found, len(log.device_to_host)


@pytest.mark.parametrize("named", [False, True], ids=["by its place", "by its name"])
def test_grids_on_the_device_are_read_once_and_passed_on_from_the_host(named: bool) -> None:
    model, grids = Model(), torch.tensor(GRIDS).to("npu")
    arguments, keywords = ((None,), {"grid_thw": grids}) if named else ((None, grids), {})
    found = copies_of(lambda: advice.one_call_of_frames_on_host(model.where, model, arguments, keywords))
    assert found == (("cpu", GRIDS, (24, 32, 32)), 1)


def test_grids_on_the_host_stay_and_cost_no_copy() -> None:
    model, grids = Model(), torch.tensor(GRIDS)
    found = copies_of(lambda: advice.one_call_of_frames_on_host(model.where, model, (None, grids), {}))
    assert found == (("cpu", GRIDS, (24, 32, 32)), 0)


def test_where_boundaries_are_on_the_host_with_the_grids_nothing_is_done() -> None:
    model = Model()
    found = advice.one_call_of_frames_if_on_device(model.where, model, (None, torch.tensor(GRIDS)), {})
    assert found == ("cpu", GRIDS, None)


def test_shapes_beside_patches_are_read_once() -> None:
    model, shapes = Model(), torch.tensor([[4, 6], [8, 4]]).to("npu")
    found = copies_of(lambda: advice.one_call_of_shapes_on_host(model.packed, model, ((None, shapes),), {}))
    assert found == (("cpu", (24, 32)), 1)


def test_boundaries_that_a_result_is_cut_by_come_from_the_host() -> None:
    model, given = Model(), boundaries([24, 64])
    keywords = {"cu_seqlens": given, "image_grid_thw": GRIDS}
    found = copies_of(lambda: advice.boundaries_of_clips_on_host(model.cut, model, (None,), keywords))
    assert found == (("cpu", [0, 24, 88], torch.int32), 0)


def test_boundaries_of_other_sequences_stay_as_they_are() -> None:
    model, given = Model(), boundaries([24, 32, 32])
    keywords = {"cu_seqlens": given, "image_grid_thw": GRIDS}
    assert advice.boundaries_of_clips_on_host(model.cut, model, (None,), keywords)[0] == "npu:0"


def test_a_table_is_as_long_as_the_largest_side_within_a_call() -> None:
    model, length = Model(), torch.tensor(8).to("npu")

    def forward(x: Any, grid_thw: Any) -> Any:
        return advice.largest_side_known(model.table, model, (length,), {})

    assert copies_of(lambda: advice.one_call_of_clips(forward, model, (None, GRIDS), {})) == (8, 0)
    assert advice.largest_side_known(model.table, model, (length,), {}) is length


def test_the_ends_of_windows_are_known_without_the_empty_ones() -> None:
    ends = [0, 16, 16, 24, 40]
    with encoder_call():
        assert advice.windows_known(lambda grids: ("order", ends), None, (GRIDS,), {}) == ("order", ends)
        assert known([16, 8, 16]) == (16, 8, 16)


def test_boundaries_that_are_moved_to_the_device_are_known() -> None:
    def moved(backend: Any, cu_seqlens: Any) -> torch.Tensor:
        return torch.from_numpy(cu_seqlens).to("npu")

    given = np.array([0, 24, 88], dtype=np.int32)
    with encoder_call():
        made = advice.recomputed_boundaries_known(moved, None, (None, given), {})
        found = known_lengths(made)
        assert found is not None
        assert found.values == (24, 64)


def test_boundaries_of_which_others_were_made_are_not() -> None:
    given = np.array([0, 24, 88], dtype=np.int32)
    with encoder_call():
        made = advice.recomputed_boundaries_known(lambda *_: boundaries([24, 32, 32]), None, (None, given), {})
        assert known_lengths(made) is None


def test_boundaries_made_of_lengths_are_known() -> None:
    with encoder_call():
        made, _ = advice.boundaries_of_lengths_known(
            lambda lengths, device: (boundaries(lengths), max(lengths)), None, ([24, 64], "npu"), {}
        )
        found = known_lengths(made)
        assert found is not None
        assert found.values == (24, 64)


def test_lengths_behind_metadata_are_known() -> None:
    with encoder_call():
        made = advice.masked_sequences_known(
            lambda lengths, device: SimpleNamespace(cu_seqlens=boundaries(lengths)), None, ([24, 64], "npu"), {}
        )
        found = known_lengths(made.cu_seqlens)
        assert found is not None
        assert found.values == (24, 64)
