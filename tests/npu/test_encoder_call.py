"""What an encoder call remembers, whose it is, and that it ends."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch

from ascend_patches.npu.encoder_call import current_call, encoder_call


def test_outside_of_calls_there_is_none() -> None:
    assert current_call() is None


def test_a_call_recalls_what_was_remembered_of_a_tensor() -> None:
    tensor = torch.zeros(2)
    with encoder_call() as call:
        call.remember("sums", (tensor,), 7)
        assert call.recall("sums", (tensor,)) == 7


def test_an_equal_tensor_is_not_the_same_tensor() -> None:
    with encoder_call() as call:
        tensor = torch.zeros(2)
        call.remember("sums", (tensor,), 7)
        assert call.recall("sums", (tensor.clone(),)) is None


def test_a_view_of_the_same_memory_is_not_the_same_tensor() -> None:
    with encoder_call() as call:
        tensor = torch.zeros(2)
        call.remember("sums", (tensor,), 7)
        assert call.recall("sums", (tensor.view(2),)) is None


def test_values_of_several_tensors_need_all_of_them() -> None:
    cos, sin = torch.zeros(2), torch.zeros(2)
    with encoder_call() as call:
        call.remember("pairs", (cos, sin), "both")
        found = [call.recall("pairs", tensors) for tensors in ((cos, sin), (sin, cos), (cos,))]
    assert found == ["both", None, None]


def test_kinds_do_not_mix() -> None:
    tensor = torch.zeros(2)
    with encoder_call() as call:
        call.remember("sums", (tensor,), 7)
        assert call.recall("means", (tensor,)) is None


def test_the_latest_value_counts() -> None:
    tensor = torch.zeros(2)
    with encoder_call() as call:
        call.remember("sums", (tensor,), 7)
        call.remember("sums", (tensor,), 8)
        assert call.recall("sums", (tensor,)) == 8


def test_remembering_less_does_not_forget_more() -> None:
    cos, sin = torch.zeros(2), torch.zeros(2)
    with encoder_call() as call:
        call.remember("pairs", (cos, sin), "both")
        call.remember("pairs", (cos,), "one")
        assert (call.recall("pairs", (cos, sin)), call.recall("pairs", (cos,))) == ("both", "one")


def test_a_call_within_a_call_knows_nothing_of_the_outer_one() -> None:
    tensor = torch.zeros(2)
    with encoder_call() as outer:
        outer.remember("sums", (tensor,), 7)
        with encoder_call() as inner:
            assert inner.recall("sums", (tensor,)) is None
        assert current_call() is outer


def test_another_thread_is_in_no_call() -> None:
    seen: list[object] = []
    with encoder_call():
        thread = threading.Thread(target=lambda: seen.append(current_call()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_an_error_ends_the_call() -> None:
    with pytest.raises(ZeroDivisionError), encoder_call():
        raise ZeroDivisionError
    assert current_call() is None


def test_tensors_live_while_the_call_lasts_and_no_longer() -> None:
    tensor = torch.zeros(2)
    alive = weakref.ref(tensor)
    with encoder_call() as call:
        call.remember("sums", (tensor,), 7)
        del tensor
        gc.collect()
        during = alive() is not None
    del call
    gc.collect()
    assert (during, alive()) == (True, None)


def test_a_graph_that_is_captured_sees_no_call() -> None:
    with encoder_call(), torch.npu.graph(torch.npu.NPUGraph()):
        assert current_call() is None


def test_a_compiled_function_sees_no_call() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def inside(x: torch.Tensor) -> torch.Tensor:
        return x + (0 if current_call() is None else 1)

    with encoder_call():
        assert inside(torch.zeros(2)).tolist() == [0, 0]
