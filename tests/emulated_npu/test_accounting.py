"""record() counts exactly what moved, what waited and what was dispatched."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from emulated_npu import Log, record

pytestmark = pytest.mark.usefixtures("npu")


@pytest.fixture
def tensor() -> torch.Tensor:
    return torch.arange(6, dtype=torch.float32, device="npu").view(2, 3)


# Copies


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.to("cpu", torch.float64),
        lambda x: x.tolist(),
        lambda x: torch.empty(2, 3).copy_(x),
        lambda x: x.to(torch.empty(0)),
        lambda x: torch.empty(2, 3).data.copy_(x),
    ],
)
def test_copy_to_the_host_is_counted_with_shape_dtype_and_bytes(
    copy: Callable[[torch.Tensor], object], tensor: torch.Tensor
) -> None:
    with record() as log:
        copy(tensor)
    assert [(c.shape, c.dtype, c.bytes, c.non_blocking) for c in log.device_to_host] == [((2, 3), "float32", 24, False)]


def test_copy_names_the_line_that_caused_it(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.cpu()
        frame = inspect.currentframe()
        line = frame.f_lineno - 2 if frame is not None else 0
    assert log.device_to_host[0].where == f"{__file__}:{line} in test_copy_names_the_line_that_caused_it"


def test_copy_inside_torch_names_the_line_outside_torch(tensor: torch.Tensor) -> None:
    module = torch.nn.Linear(1, 1).to("npu")
    with record() as log:
        module.cpu()
    assert {copy.where.partition(":")[0] for copy in log.device_to_host} == {__file__}


def test_copy_of_a_view_counts_the_bytes_of_the_view(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor[1:].cpu()
    assert log.device_to_host[0].bytes == 12


def test_non_blocking_copy_is_counted_and_marked(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.to("cpu", non_blocking=True)
    assert [copy.non_blocking for copy in log.device_to_host] == [True]
    assert log.stalls == 0


def test_copying_to_where_the_tensor_is_counts_nothing(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.to("npu")
    assert (log.device_to_host, log.host_to_device, log.dispatches) == ([], [], 0)


@pytest.mark.parametrize(
    "copy",
    [
        lambda: torch.ones(2, 3).to("npu"),
        lambda: torch.ones(2, 3).npu(),
        lambda: torch.empty(2, 3, device="npu").copy_(torch.ones(2, 3)),
        lambda: torch.tensor([[1.0, 2, 3], [4, 5, 6]], device="npu"),
    ],
)
def test_copy_to_the_device_is_counted(copy: Callable[[], object]) -> None:
    with record() as log:
        copy()
    assert [(c.shape, c.bytes) for c in log.host_to_device] == [((2, 3), 24)]
    assert log.device_to_host == []


def test_index_on_the_host_is_copied_to_the_device(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor[torch.tensor([1])]
    assert [copy.cause for copy in log.host_to_device] == ["aten::index.Tensor"]


def test_copy_on_the_device_is_no_transfer(tensor: torch.Tensor) -> None:
    with record() as log:
        torch.empty_like(tensor).copy_(tensor)
    assert (log.device_to_host, log.host_to_device) == ([], [])


def test_printing_copies_values_to_the_host(tensor: torch.Tensor) -> None:
    with record() as log:
        repr(tensor)
    assert log.device_to_host


# Waits


@pytest.mark.parametrize(
    ("wait", "cause"),
    [
        (lambda x: x[0, 1].item(), "item"),
        (lambda x: float(x[0, 1]), "item"),
        (lambda x: bool(x[0, 1] > 0), "item"),
        (lambda x: torch.zeros(9)[x[0, 1].long() :], "item"),
        (lambda x: torch.allclose(x, x), "item"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: torch.where(x > 1), "nonzero"),
        (lambda x: x.masked_select(x > 1), "masked_select"),
        (lambda x: x.unique(), "unique"),
        (lambda x: x.unique_consecutive(), "unique_consecutive"),
        (lambda x: x.equal(x), "equal"),
        (lambda x: x.flatten().int().bincount(), "bincount"),
        (lambda x: x.repeat_interleave((x[:, 0] > 0) + 1, dim=0), "repeat_interleave"),
        (lambda x: x[x > 1], "boolean-mask indexing"),
        (lambda x: x.index_put_((x > 3,), torch.ones(2, device="npu")), "boolean-mask indexing"),
        (lambda x: torch.npu.synchronize(), "device.synchronize"),
        (lambda x: torch.accelerator.synchronize(), "device.synchronize"),
        (lambda x: torch.npu.current_stream().synchronize(), "stream.synchronize"),
        (lambda x: torch.npu.Event().synchronize(), "event.synchronize"),
        (lambda x: torch.Event().synchronize(), "event.synchronize"),
    ],
)
def test_waiting_for_the_device_is_counted_once(
    wait: Callable[[torch.Tensor], object], cause: str, tensor: torch.Tensor
) -> None:
    with record() as log:
        wait(tensor)
    assert [w.cause for w in log.waits] == [cause]
    assert log.stalls == 1


@pytest.mark.parametrize(
    "free",
    [
        lambda x: x + 1,
        lambda x: x.masked_fill(x > 1, 0),
        lambda x: x.index_put_((x > 1,), torch.tensor(0.0)),
        lambda x: torch.where(x > 1, x, 0),
        lambda x: x[torch.zeros(1, dtype=torch.int64, device="npu")],
        lambda x: x[1, 2],
        lambda x: x.repeat_interleave(2, dim=0),
        lambda x: torch.repeat_interleave(x, (x[:, 0] > 0) + 1, dim=0, output_size=3),
        lambda x: x.split([1, 2], dim=1),
        lambda x: x.sum(),
        lambda x: x.size(0) and x.numel(),
        lambda x: torch.npu.Event().record(),
        lambda x: torch.npu.current_stream().wait_stream(torch.npu.Stream()),
    ],
)
def test_work_that_the_host_does_not_wait_for_is_no_stall(
    free: Callable[[torch.Tensor], object], tensor: torch.Tensor
) -> None:
    with record() as log:
        free(tensor)
    assert log.stalls == 0


def test_item_is_a_copy_of_one_element_and_a_wait_but_one_stall(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.sum().item()
    assert [(copy.cause, copy.bytes) for copy in log.device_to_host] == [("item", 4)]
    assert [wait.cause for wait in log.waits] == ["item"]
    assert log.stalls == 1


# Dispatches


def dispatches(work: Callable[[], object]) -> dict[str, int]:
    with record() as log:
        work()
    return dict(log.by_operator)


def test_dispatches_are_counted_per_operator(tensor: torch.Tensor) -> None:
    assert dispatches(lambda: (tensor + tensor) * 2 + 1) == {"aten::add.Tensor": 2, "aten::mul.Tensor": 1}


def test_views_are_dispatches_and_no_kernels(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.view(3, 2)[1:].t().unsqueeze(0).expand(2, -1, -1)
    assert (log.dispatches, log.kernels) == (5, 0)
    assert set(log.views_by_operator) == {
        "aten::view",
        "aten::slice.Tensor",
        "aten::t",
        "aten::unsqueeze",
        "aten::expand",
    }


@pytest.mark.parametrize(
    ("work", "operators"),
    [
        (lambda x: torch.nn.functional.pad(x, (0, 1)), {"aten::constant_pad_nd": 1}),
        (lambda x: torch.cat((x, x)), {"aten::cat": 1}),
        (lambda x: torch.stack((x, x)), {"aten::stack": 1}),
        (lambda x: torch.zeros_like(x), {"aten::zeros_like": 1}),
        (lambda x: x.chunk(3, dim=1), {"aten::split.Tensor": 1}),
        (lambda x: x.unbind(0), {"aten::unbind.int": 1}),
        (lambda x: x.t().contiguous(), {"aten::t": 1, "aten::clone": 1}),
        (lambda x: x.half(), {"aten::_to_copy": 1}),
        (lambda x: torch.zeros(3, device="npu"), {"aten::zeros": 1}),
        (lambda x: torch.empty(3, device="npu"), {"aten::empty.memory_format": 1}),
        (lambda x: torch.diff(x), {"aten::slice.Tensor": 2, "aten::sub.Tensor": 1}),
    ],
)
def test_one_operator_of_torch_counts_as_one_dispatch(
    work: Callable[[torch.Tensor], object], operators: dict[str, int], tensor: torch.Tensor
) -> None:
    assert dispatches(lambda: work(tensor)) == operators


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_counts_do_not_depend_on_the_gradient_mode(
    mode: Callable[[], AbstractContextManager[object]], tensor: torch.Tensor
) -> None:
    with mode():
        assert dispatches(lambda: tensor.t().reshape(-1).softmax(0)) == {
            "aten::t": 1,
            "aten::clone": 1,
            "aten::_unsafe_view": 1,
            "aten::_softmax": 1,
        }


def test_work_on_the_host_is_not_counted() -> None:
    assert dispatches(lambda: torch.ones(3).sum().item()) == {}


# Records


def test_nested_records_both_see_what_happens_inside(tensor: torch.Tensor) -> None:
    with record() as outer:
        tensor.cpu()
        with record() as inner:
            tensor.cpu()
    assert (len(outer.device_to_host), len(inner.device_to_host)) == (2, 1)


def test_record_sees_nothing_after_it_is_closed(tensor: torch.Tensor) -> None:
    with record() as log:
        pass
    tensor.cpu()
    assert log.dispatches == 0


def test_record_is_closed_by_an_error(tensor: torch.Tensor) -> None:
    with pytest.raises(ZeroDivisionError), record() as log:
        raise ZeroDivisionError
    tensor.cpu()
    assert log.device_to_host == []


def in_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_record_sees_only_its_own_thread(tensor: torch.Tensor) -> None:
    with record() as log:
        in_another_thread(tensor.cpu)
    assert log.device_to_host == []


def test_record_of_all_threads_sees_every_thread(tensor: torch.Tensor) -> None:
    with record(all_threads=True) as log:
        tensor.cpu()
        in_another_thread(tensor.cpu)
    assert len(log.device_to_host) == 2


def test_records_of_two_threads_do_not_mix(tensor: torch.Tensor) -> None:
    barrier = threading.Barrier(2, timeout=30)
    logs: dict[int, Log] = {}

    def work(times: int) -> None:
        with record() as log:
            barrier.wait()
            for _ in range(times):
                tensor + 1
            barrier.wait()
        logs[times] = log

    threads = [threading.Thread(target=work, args=(times,)) for times in (20, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {times: log.kernels for times, log in logs.items()} == {20: 20, 50: 50}


def test_counts_repeat_exactly(tensor: torch.Tensor) -> None:
    def run() -> str:
        with record() as log:
            (tensor[tensor > 1].sort().values.sum() / 2).item()
        return log.to_json()

    first, second = (run() for _ in range(2))
    assert first == second


# What a reader gets


def test_json_holds_every_count(tensor: torch.Tensor) -> None:
    with record() as log:
        tensor.t().cpu()
    content = json.loads(log.to_json())
    assert {key: content[key] for key in ("dispatches", "kernels", "stalls", "views_by_operator")} == {
        "dispatches": 2,
        "kernels": 1,
        "stalls": 1,
        "views_by_operator": {"aten::t": 1},
    }
    assert content["device_to_host"][0]["shape"] == [3, 2]


def test_table_names_copies_waits_and_operators(tensor: torch.Tensor) -> None:
    with record() as log:
        for _ in range(3):
            tensor.cpu()
        tensor.nonzero()
    table = log.table()
    assert "3 x aten::_to_copy float32[2, 3] 24 B" in table
    assert "1 x nonzero" in table
    assert "test_accounting.py" in table


def test_table_of_an_empty_log_says_so() -> None:
    assert Log().table().startswith("dispatches 0")
