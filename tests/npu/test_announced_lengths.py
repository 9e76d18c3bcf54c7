"""Lengths announced to an encoder call: taken for a tensor that only they can fit, and never guessed."""

from __future__ import annotations

import torch

import emulated_npu
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import announce, hand_over, known_lengths, lengths_of


def boundaries(*lengths: int) -> torch.Tensor:
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return ends.to("npu")


def known(cu_seqlens: torch.Tensor, tokens: int | None) -> tuple[int, ...] | None:
    found = known_lengths(cu_seqlens, tokens)
    return None if found is None else found.values


def test_the_only_lengths_that_fit_are_known_without_a_copy() -> None:
    windows, frames = boundaries(4, 4, 4, 4), boundaries(8, 8)
    with encoder_call(), emulated_npu.record() as log:
        announce([8, 8], [4, 4, 4, 4])
        assert (known(windows, 16), known(frames, 16)) == ((4, 4, 4, 4), (8, 8))
        assert lengths_of(frames).values == (8, 8)
    assert log.device_to_host == []


def test_windows_and_frames_of_one_count_are_not_told_apart() -> None:
    with encoder_call():
        announce([8, 8], [4, 12])
        assert known(boundaries(4, 12), 16) is None
        assert lengths_of(boundaries(4, 12)).values == (4, 12)


def test_the_same_lengths_announced_twice_are_known() -> None:
    with encoder_call():
        announce([8, 8], [8, 8])
        assert known(boundaries(8, 8), 16) == (8, 8)


def test_lengths_of_another_total_do_not_fit() -> None:
    with encoder_call():
        announce([8, 8])
        assert known(boundaries(4, 4), 8) is None


def test_nothing_is_known_of_a_tensor_while_its_tokens_are_not() -> None:
    with encoder_call():
        announce([8, 8])
        assert known(boundaries(8, 8), None) is None


def test_two_calls_with_equal_totals_and_counts_keep_their_own_lengths() -> None:
    for lengths in ((64, 192), (192, 64)):
        with encoder_call():
            announce(lengths)
            assert known(boundaries(*lengths), 256) == lengths


def test_an_announcement_ends_with_its_call() -> None:
    tensor = boundaries(8, 8)
    with encoder_call():
        announce([8, 8])
        with encoder_call():
            assert known(tensor, 16) is None
    with encoder_call():
        assert known(tensor, 16) is None


def test_what_was_handed_over_goes_before_what_was_announced() -> None:
    tensor = boundaries(4, 12)
    with encoder_call():
        announce([8, 8])
        hand_over(tensor, [4, 12])
        assert known(tensor, 16) == (4, 12)


def test_outside_of_a_call_an_announcement_says_nothing() -> None:
    announce([8, 8])
    assert known(boundaries(8, 8), 16) is None


def test_what_is_announced_later_joins_what_was_announced_before() -> None:
    with encoder_call():
        announce([8, 8])
        announce([4, 4, 4, 4])
        assert (known(boundaries(8, 8), 16), known(boundaries(4, 4, 4, 4), 16)) == ((8, 8), (4, 4, 4, 4))
