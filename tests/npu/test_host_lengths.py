"""Lengths are read from the device at most once in an encoder call, and never where they were handed over."""

from __future__ import annotations

import pytest
import torch
from npu.attention_layers import boundaries

import emulated_npu
from ascend_patches.errors import AscendPatchesError
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import Lengths, LengthsError, hand_over, known_lengths, lengths_in, lengths_of


def test_the_forms_that_ops_take() -> None:
    lengths = Lengths([5, 0, 7])
    assert (lengths.values, lengths.ends) == ((5, 0, 7), [5, 5, 12])
    assert (lengths.tensor.tolist(), lengths.tensor.dtype, lengths.tensor.device.type) == (
        [5, 0, 7],
        torch.int32,
        "cpu",
    )


def test_each_form_is_made_once() -> None:
    lengths = Lengths([5, 7])
    assert lengths.ends is lengths.ends
    assert lengths.tensor is lengths.tensor


def test_no_sequences_have_no_lengths() -> None:
    lengths = Lengths([])
    assert (lengths.ends, lengths.tensor.tolist()) == ([], [])


def test_keys_of_twice_the_length() -> None:
    assert Lengths([5, 7]).times(2).values == (10, 14)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lengths_are_the_differences_of_boundaries(dtype: torch.dtype) -> None:
    assert lengths_of(boundaries([5, 0, 7], dtype=dtype)).values == (5, 0, 7)


def test_a_miss_costs_one_copy_and_is_then_known() -> None:
    cu_seqlens = boundaries([5, 7])
    with emulated_npu.record() as log, encoder_call():
        first, second = lengths_of(cu_seqlens), lengths_of(cu_seqlens)
    assert first is second
    assert len(log.device_to_host) == 1


def test_what_was_handed_over_costs_no_copy() -> None:
    cu_seqlens = boundaries([5, 7])
    with emulated_npu.record() as log, encoder_call():
        hand_over(cu_seqlens, [5, 7])
        assert lengths_of(cu_seqlens).values == (5, 7)
    assert log.stalls == 0


def test_boundaries_on_the_host_cost_no_copy() -> None:
    with emulated_npu.record() as log:
        assert lengths_of(boundaries([5, 7], device="cpu")).values == (5, 7)
    assert log.stalls == 0


def test_asking_what_is_known_never_looks_at_the_device() -> None:
    cu_seqlens = boundaries([5, 7])
    with emulated_npu.record() as log, encoder_call():
        assert known_lengths(cu_seqlens) is None
    assert log.stalls == 0


def test_outside_of_a_call_nothing_is_remembered() -> None:
    cu_seqlens = boundaries([5, 7])
    hand_over(cu_seqlens, [6, 6])
    with emulated_npu.record() as log:
        assert [lengths_of(cu_seqlens).values, lengths_of(cu_seqlens).values] == [(5, 7), (5, 7)]
    assert len(log.device_to_host) == 2


def test_the_next_call_knows_nothing_of_the_last() -> None:
    cu_seqlens = boundaries([5, 7])
    with encoder_call():
        hand_over(cu_seqlens, [6, 6])
    with encoder_call():
        assert lengths_of(cu_seqlens).values == (5, 7)


def test_a_capture_neither_keeps_lengths_nor_gets_any() -> None:
    cu_seqlens = boundaries([5, 7], device="cpu")
    with encoder_call():
        hand_over(cu_seqlens, [1, 11])
        with torch.npu.graph(torch.npu.NPUGraph()):
            during = lengths_of(cu_seqlens).values
            hand_over(cu_seqlens, [2, 10])
        assert (during, lengths_of(cu_seqlens).values) == ((5, 7), (1, 11))


def test_handing_over_the_wrong_number_of_lengths_is_an_error() -> None:
    with pytest.raises(LengthsError, match=r"3 lengths .* a cu_seqlens of 3 boundaries, which has 2"):
        hand_over(boundaries([5, 7]), [5, 7, 0])


def test_the_error_is_one_of_this_packages() -> None:
    assert issubclass(LengthsError, AscendPatchesError)


def test_lengths_that_come_as_such_are_read_once_in_a_call() -> None:
    given = torch.tensor([5, 7], device="npu")
    with emulated_npu.record() as log, encoder_call():
        assert [lengths_in(given).values, lengths_in(given).values] == [(5, 7), (5, 7)]
    assert len(log.device_to_host) == 1


def test_a_tensor_of_lengths_is_not_taken_for_boundaries() -> None:
    tensor = boundaries([5, 7], device="cpu")
    with encoder_call():
        assert (lengths_of(tensor).values, lengths_in(tensor).values) == ((5, 7), (0, 5, 12))
