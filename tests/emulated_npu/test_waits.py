"""Which copies make the host wait, in both directions, and which of the waits come after the first kernel.

The rules are torch_npu's: csrc/aten/ops/op_api/CopyKernelOpApi.cpp, csrc/core/npu/CachingHostAllocator.cpp
(process_unregistered_mem_location_type) and csrc/aten/common/ToKernelNpu.cpp (pin_out) of Ascend/pytorch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch

from emulated_npu import record

pytestmark = pytest.mark.usefixtures("npu")

Copy = Callable[[], object]


def on_device(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype, device="npu")


def pinned(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype).pin_memory()


@pytest.mark.parametrize(
    "copy",
    [
        lambda: torch.ones(2).to("npu"),
        lambda: torch.ones(2).to("npu", non_blocking=True),
        lambda: torch.ones(2).npu(non_blocking=True),
        lambda: torch.tensor([1, 2], device="npu"),
        lambda: on_device(2).copy_(torch.ones(2), non_blocking=True),
        lambda: on_device(4)[torch.tensor([1])],
        lambda: pinned(2).to("npu"),
        lambda: on_device(2).copy_(pinned(2)),
    ],
)
def test_a_copy_to_the_device_waits_unless_it_is_non_blocking_and_from_pinned_memory(copy: Copy) -> None:
    with record() as log:
        copy()
    assert [each.waits for each in log.host_to_device] == [True]
    assert log.stalls == 1


@pytest.mark.parametrize(
    "copy",
    [
        lambda: on_device(2).cpu(),
        lambda: on_device(2).to("cpu"),
        lambda: pinned(2).copy_(on_device(2)),
        lambda: torch.ones(2).copy_(on_device(2), non_blocking=True),
    ],
)
def test_a_copy_to_the_host_waits_unless_it_is_non_blocking_and_into_pinned_memory(copy: Copy) -> None:
    with record() as log:
        copy()
    assert [each.waits for each in log.device_to_host] == [True]
    assert log.stalls == 1


@pytest.mark.parametrize(
    "copy",
    [
        lambda: pinned(2).to("npu", non_blocking=True),
        lambda: on_device(2).copy_(pinned(2), non_blocking=True),
        lambda: pinned(2).copy_(on_device(2), non_blocking=True),
        lambda: on_device(2).to("cpu", non_blocking=True),
        lambda: on_device(3, 2).to(pinned(4)[:2].device, non_blocking=True),
    ],
)
def test_a_non_blocking_copy_between_pinned_memory_and_the_device_does_not_wait(copy: Copy) -> None:
    with record() as log:
        copy()
    (found,) = log.host_to_device + log.device_to_host
    assert (found.pinned, found.waits, log.stalls) == (True, False, 0)


@pytest.mark.parametrize(
    "copy",
    [
        lambda: on_device(2, dtype=torch.float16).copy_(pinned(2), non_blocking=True),
        lambda: on_device(2, 3).copy_(pinned(3, 2).t(), non_blocking=True),
        lambda: on_device(2, 3).copy_(pinned(3), non_blocking=True),
        lambda: pinned(2).copy_(on_device(2, dtype=torch.float16), non_blocking=True),
        lambda: pinned(3, 2).t().copy_(on_device(2, 3), non_blocking=True),
    ],
)
def test_pinned_memory_that_cannot_be_copied_as_it_lies_waits(copy: Copy) -> None:
    """It is copied by way of fresh memory, which is not pinned."""
    with record() as log:
        copy()
    assert log.stalls == 1


def test_to_the_host_without_waiting_gives_pinned_memory() -> None:
    assert on_device(2).to("cpu", non_blocking=True).is_pinned()
    assert not on_device(2).to("cpu").is_pinned()


def test_pinned_memory_is_told_apart_in_its_views_and_not_in_its_copies() -> None:
    memory = pinned(4)
    assert (memory[1:].is_pinned(), memory.clone().is_pinned(), memory.numpy().shape) == (True, False, (4,))


def test_an_empty_tensor_is_not_copied() -> None:
    with record() as log:
        torch.empty(0, 3).to("npu")
        on_device(0).cpu()
    assert (log.host_to_device, log.device_to_host, log.stalls) == ([], [], 0)


def test_a_wait_names_its_cause_and_its_place() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    with record() as log:
        torch.ones(2).to("npu")
        line = frame.f_lineno - 1
    (wait,) = log.waits
    assert wait.cause == "aten::_to_copy"
    assert wait.where == f"{__file__}:{line} in test_a_wait_names_its_cause_and_its_place"


def test_waits_before_the_first_kernel_are_told_apart() -> None:
    with record() as log:
        first = torch.ones(2).to("npu")
        second = torch.ones(2).to("npu")
        total = first + second
        torch.ones(2).to("npu")
        total.cpu()
    assert [wait.kernels_before for wait in log.waits] == [0, 0, 1, 1]
    assert [wait.cause for wait in log.waits_after_first_kernel] == ["aten::_to_copy", "aten::_to_copy"]
    assert log.to_dict()["waits_after_first_kernel"] == 2


def test_each_record_counts_kernels_from_where_it_was_opened() -> None:
    x = on_device(2)
    with record() as outer:
        x + x
        with record() as inner:
            x.cpu()
    assert [[wait.kernels_before for wait in log.waits] for log in (outer, inner)] == [[1], [0]]


def test_a_copy_to_the_host_that_waits_is_refused_while_a_graph_is_captured() -> None:
    with torch.npu.graph(torch.npu.NPUGraph()):
        pinned(2).copy_(on_device(2), non_blocking=True)
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            torch.ones(2).copy_(on_device(2), non_blocking=True)


def test_neither_allocations_nor_copies_nor_cache_hints_are_kernels() -> None:
    import emulated_npu

    emulated_npu.install()
    import torch_npu

    with record() as log:
        x = torch.empty(8, device="npu")
        torch.empty_like(x)
        x.copy_(torch.ones(8))
        torch_npu.npu_prefetch(x, None, 4)
        x.cpu()
    assert (log.kernels, log.dispatches) == (0, 5)
