"""Recordings of several lengths: read in one copy, cut into pieces, and told from their padding on the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import emulated_npu
from ascend_patches.npu import recordings


def on(device: str, *values: int) -> torch.Tensor:
    return torch.tensor(values).to(device)


NPU = "npu:0"
UPSTREAMS = {
    "none": lambda: (on(NPU)[:0].long(), on(NPU)[:0].long()),
    "an empty one": lambda: (on(NPU, 16, 0), on(NPU, 2, 0)),
    "on the host": lambda: (on("cpu", 16), on("cpu", 2)),
    "on two devices": lambda: (on(NPU, 16), on("cpu", 2)),
    "of two types": lambda: (on(NPU, 16), on(NPU, 2).int()),
    "no whole numbers": lambda: (on(NPU, 16).float(), on(NPU, 2).float()),
    "of two counts": lambda: (on(NPU, 16), on(NPU, 2, 1)),
    "in a table": lambda: (on(NPU, 16)[None], on(NPU, 2)[None]),
}


def test_lengths_are_read_in_one_copy() -> None:
    given = on(NPU, 70, 16), on(NPU, 9, 2)
    with emulated_npu.record() as log:
        assert recordings.lengths_at_once(*given, torch.device(NPU)) == ([70, 16], [9, 2])
    assert len(log.device_to_host) == 1


@pytest.mark.parametrize("given", UPSTREAMS.values(), ids=UPSTREAMS)
def test_upstream_has_its_own_way_with_others(given: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
    assert recordings.lengths_at_once(*given(), torch.device(NPU)) is None


def test_lengths_are_cut_into_pieces_one_by_one() -> None:
    assert recordings.pieces((70, 32, 9), 32) == [32, 32, 6, 32, 9]


def test_a_convolution_halves_upwards() -> None:
    assert recordings.halved((16, 9, 1)) == [8, 5, 1]
    assert recordings.halved((16, 9, 1), 3) == [2, 2, 1]


def test_rows_beyond_a_piece_are_padding() -> None:
    assert recordings.no_padding((3, 1)).tolist() == [[True, True, True], [True, False, False]]


def test_boundaries_are_of_the_type_that_attention_takes() -> None:
    made = recordings.boundaries((4, 2))
    assert (made.tolist(), made.dtype, made.device.type) == ([0, 4, 6], torch.int32, "cpu")
