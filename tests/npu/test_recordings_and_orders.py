"""Advice around encoders that read lengths of recordings, orders of patches, or boundaries by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu import vision_transformers as advice
from ascend_patches.npu.encoder_call import encoder_call

NPU = "npu:0"


def on_device(*values: int) -> torch.Tensor:
    return torch.tensor(values).to("npu")


def lengths_given(features: Any, feature_lens: torch.Tensor, aftercnn_lens: torch.Tensor, **_: Any) -> Any:
    return [feature_lens.device.type, feature_lens.tolist(), aftercnn_lens.tolist()]


@pytest.mark.parametrize("named", [False, True], ids=["in order", "by name, the other way round"])
def test_lengths_before_and_after_convolutions_are_read_in_one_copy(named: bool) -> None:
    before, after = on_device(9, 4), on_device(5, 2)
    args = (None,) if named else (None, before, after)
    kwargs = {"aftercnn_lens": after, "feature_lens": before} if named else {}
    with emulated_npu.record() as log:
        assert advice.lengths_read_at_once(lengths_given, None, args, kwargs) == ["cpu", [9, 4], [5, 2]]
    assert len(log.device_to_host) == 1


def test_lengths_on_the_host_cost_nothing() -> None:
    given = (None, torch.tensor([9, 4]), torch.tensor([5, 2]))
    with emulated_npu.record() as log:
        assert advice.lengths_read_at_once(lengths_given, None, given, {}) == ["cpu", [9, 4], [5, 2]]
    assert (log.kernels, log.stalls) == (0, 0)


def test_lengths_that_are_not_alike_stay_where_they_are() -> None:
    given = (None, on_device(9, 4), on_device(5))
    assert advice.lengths_read_at_once(lengths_given, None, given, {}) == ["npu", [9, 4], [5]]


def order_of(rows: int, columns: int, device: Any) -> tuple[torch.Tensor, list[int]]:
    order = torch.arange(rows * columns, device=device).view(rows, columns).T.reshape(-1)
    return order[order != -1], [rows] * columns


@pytest.mark.parametrize("named", [False, True])
def test_an_order_is_made_on_the_host_and_copied_without_a_wait(named: bool) -> None:
    args, kwargs = ((2, 3), {"device": NPU}) if named else ((2, 3, NPU), {})
    with emulated_npu.record() as log:
        order, lengths = advice.order_made_on_host(order_of, None, args, kwargs)
    assert log.stalls == 0
    assert (str(order.device), order.tolist(), lengths) == (NPU, [0, 3, 1, 4, 2, 5], [2, 2, 2])


def split_by(query: Any, key: Any, value: Any, cu_seqlens: torch.Tensor | None = None) -> Any:
    return None if cu_seqlens is None else (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()


@pytest.mark.parametrize("named", [False, True])
def test_layers_that_split_by_boundaries_read_them_once_in_a_call(named: bool) -> None:
    boundaries = on_device(0, 2, 5)
    args, kwargs = ((0, 0, 0), {"cu_seqlens": boundaries}) if named else ((0, 0, 0, boundaries), {})
    with emulated_npu.record() as log, encoder_call():
        found = [advice.boundaries_on_host(split_by, None, args, kwargs) for _ in range(3)]
    assert found == [[2, 3]] * 3
    assert len(log.device_to_host) == 1


def test_outside_of_a_call_a_layer_splits_as_it_did() -> None:
    boundaries = on_device(0, 2, 5)
    with emulated_npu.record() as log:
        assert advice.boundaries_on_host(split_by, None, (0, 0, 0, boundaries), {}) == [2, 3]
    assert len(log.device_to_host) == 1


def test_a_layer_of_one_sequence_per_row_is_given_no_boundaries() -> None:
    with encoder_call():
        assert advice.boundaries_on_host(split_by, None, (0, 0, 0), {}) is None
