"""Padded heads: zeros behind every head, in memory that belongs to one encoder call."""

from __future__ import annotations

import torch

import emulated_npu
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.padding import padded

SIZE, PADDED = 72, 128


def heads(value: float, *, tokens: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((1, tokens, 2, SIZE), value, dtype=dtype, device="npu")


@torch.inference_mode()
def test_heads_come_first_and_zeros_behind_them() -> None:
    with encoder_call():
        packed = padded("query", heads(2.0), PADDED).cpu()
    assert packed.shape == (3, 2, PADDED)
    assert (packed[..., :SIZE].unique().tolist(), packed[..., SIZE:].unique().tolist()) == ([2.0], [0.0])


@torch.inference_mode()
def test_without_a_call_the_result_is_the_same() -> None:
    with encoder_call():
        within = padded("query", heads(2.0), PADDED).cpu()
    assert torch.equal(within, padded("query", heads(2.0), PADDED).cpu())


@torch.inference_mode()
def test_the_tail_stays_zero_from_layer_to_layer() -> None:
    with encoder_call():
        for layer in range(3):
            tail = padded("query", heads(layer + 1.0), PADDED)[..., SIZE:]
        assert tail.cpu().unique().tolist() == [0.0]


@torch.inference_mode()
def test_a_later_layer_costs_one_copy_and_nothing_else() -> None:
    given = heads(1.0)
    with encoder_call():
        padded("query", given, PADDED)
        with emulated_npu.record() as log:
            padded("query", given, PADDED)
    assert dict(log.by_operator) == {"aten::copy_": 1}


@torch.inference_mode()
def test_names_have_memory_of_their_own() -> None:
    with encoder_call():
        query, key = padded("query", heads(1.0), PADDED), padded("key", heads(2.0), PADDED)
        assert (query[0, 0, 0].item(), key[0, 0, 0].item()) == (1.0, 2.0)


@torch.inference_mode()
def test_other_shapes_and_dtypes_have_memory_of_their_own() -> None:
    with encoder_call() as call:
        for given in (heads(1.0), heads(1.0, tokens=4), heads(1.0, dtype=torch.bfloat16)):
            packed = padded("query", given, PADDED)
            assert (packed.shape[0], packed.dtype) == (given.shape[1], given.dtype)
        assert len(call.buffers) == 3


@torch.inference_mode()
def test_streams_have_memory_of_their_own() -> None:
    with encoder_call() as call:
        padded("query", heads(1.0), PADDED)
        with torch.npu.stream(torch.npu.Stream()):
            padded("query", heads(1.0), PADDED)
        assert len(call.buffers) == 2


@torch.inference_mode()
def test_the_next_call_has_memory_of_its_own() -> None:
    kept = []
    for value in (1.0, 2.0):
        with encoder_call():
            kept.append(padded("query", heads(value), PADDED))
    assert [packed[0, 0, 0].item() for packed in kept] == [1.0, 2.0]


def test_where_gradients_are_kept_nothing_is_overwritten() -> None:
    with encoder_call():
        first = padded("query", heads(1.0), PADDED)
        padded("query", heads(2.0), PADDED)
    assert first[0, 0, 0].item() == 1.0
