"""What a forward needs from the host, copied to the device at once."""

from __future__ import annotations

import torch

import emulated_npu
from ascend_patches.npu.host_copies import to_device

TENSORS = (
    torch.arange(12).view(3, 4),
    torch.rand(4, 7, 1, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16),
    torch.empty(0, dtype=torch.int64),
    torch.tensor([0, 3, 9], dtype=torch.int32),
    torch.arange(6.0).view(2, 3).t(),
)


def test_values_shapes_and_types_arrive_in_order() -> None:
    for tensor, there in zip(TENSORS, to_device(torch.device("npu"), *TENSORS), strict=True):
        assert (there.device.type, there.dtype, there.shape) == ("npu", tensor.dtype, tensor.shape)
        assert torch.equal(there.cpu(), tensor)


def test_it_is_one_copy_for_which_the_host_does_not_wait() -> None:
    with emulated_npu.record() as log:
        to_device(torch.device("npu"), *TENSORS)
    assert (len(log.host_to_device), log.waits, log.kernels) == (1, [], 0)


def test_nothing_is_copied_to_where_it_is() -> None:
    there = to_device(torch.device("cpu"), *TENSORS)
    assert all(one is other for one, other in zip(there, TENSORS, strict=True))


def test_every_tensor_begins_where_memory_of_its_own_would() -> None:
    assert [
        tensor.storage_offset() * tensor.element_size() % 512 for tensor in to_device(torch.device("npu"), *TENSORS)
    ] == [0] * 5
