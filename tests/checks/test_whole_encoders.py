"""Encoders in float64: attention of plain torch takes what the layers of released models give it."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from ascend_patches.checks.whole_encoders import attention

LAYER = SimpleNamespace(head_size=4, num_heads=2, num_kv_heads=2)


def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(1, 6, 8, generator=generator, dtype=torch.float64) for _ in range(3)]


def test_tokens_without_a_batch_are_a_batch_of_one() -> None:
    whole = inputs()
    boundaries = torch.tensor([0, 2, 6])
    for given in ((), (boundaries,)):
        alone = attention(LAYER, *(each[0] for each in whole), *given)
        assert torch.equal(alone, attention(LAYER, *whole, *given)[0])


def test_heads_may_be_apart_already() -> None:
    whole = inputs()
    apart = attention(LAYER, *(each.unflatten(-1, (2, 4)) for each in whole))
    assert torch.equal(apart.flatten(-2), attention(LAYER, *whole))


def test_a_sequence_sees_itself_alone() -> None:
    query, key, value = inputs()
    both = attention(LAYER, query, key, value, torch.tensor([0, 2, 6]))
    assert torch.allclose(both[:, :2], attention(LAYER, query[:, :2], key[:, :2], value[:, :2]))
    assert torch.allclose(both[:, 2:], attention(LAYER, query[:, 2:], key[:, 2:], value[:, 2:]))
