"""Sequence lengths on the host: the one home of the values behind a ``cu_seqlens`` tensor.

The code that builds ``cu_seqlens`` on the host hands its lengths over; the code that needs them asks. A miss costs one
copy from the device, and is known for the rest of the encoder call. Outside of encoder calls nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch

from ascend_patches.errors import AscendPatchesError
from ascend_patches.npu.encoder_call import EncoderCall, current_call

_OF_BOUNDARIES = "lengths between boundaries"
_OF_LENGTHS = "lengths as given"
_ANNOUNCED = ("lengths announced",)

_FEW = 4
"""Elements that are converted as quickly as a list of torch's own is looked up; of none it would be one of tensors."""
# A torch without it converts, and that is all.
_list_of_torch: Any = getattr(torch._C, "ScriptList", list)


class LengthsError(AscendPatchesError, ValueError):
    """Lengths that cannot be those of the tensor they were given for."""


class Lengths:
    """The lengths of packed sequences, in the forms that the ops take; each form is made once."""

    def __init__(self, values: Iterable[int]) -> None:
        self.values = tuple(map(int, values))

    @cached_property
    def ends(self) -> list[int]:
        """Where each sequence ends: cumulative, without a leading 0. Not to be changed."""
        return list(accumulate(self.values))

    @cached_property
    def ends_of_torch(self) -> Any:
        """The same in torch's own list, which operators take as it is; one of Python's is converted in each call."""
        return _list_of_torch(self.ends) if len(self.values) > _FEW else self.ends

    @cached_property
    def tensor(self) -> torch.Tensor:
        """One length per sequence, int32, on the CPU. Not to be changed."""
        return torch.tensor(self.values, dtype=torch.int32, device="cpu")

    def times(self, factor: int) -> Lengths:
        """The same sequences, each that many times as long."""
        return self if factor == 1 else Lengths(length * factor for length in self.values)

    def __repr__(self) -> str:
        return f"Lengths({list(self.values)})"


def lengths_from(values: Iterable[int]) -> Lengths:
    """Lengths of these values; those that come again bring the forms with them that were made of them before."""
    return _same_for_all(tuple(map(int, values)))


@lru_cache(maxsize=256)
def _same_for_all(values: tuple[int, ...]) -> Lengths:
    return Lengths(values)


def hand_over(cu_seqlens: torch.Tensor, lengths: Iterable[int]) -> None:
    """Record the lengths behind a ``cu_seqlens`` for the rest of this encoder call."""
    given = lengths_from(lengths)
    if len(given.values) + 1 != cu_seqlens.numel():
        raise LengthsError(
            f"{len(given.values)} lengths were handed over for a cu_seqlens of {cu_seqlens.numel()} boundaries, "
            f"which has {cu_seqlens.numel() - 1}: {given}"
        )
    call = current_call()
    if call is not None:
        call.remember(_OF_BOUNDARIES, (cu_seqlens,), given)


def announce(*candidates: Iterable[int]) -> None:
    """Say lengths behind the ``cu_seqlens`` that the rest of this encoder call will make, beside those said before.

    For code that knows to the letter what a model computes on the host, but does not see its tensors.
    """
    call = current_call()
    if call is not None:
        call.buffers[_ANNOUNCED] = (*call.buffers.get(_ANNOUNCED, ()), *map(lengths_from, candidates))


def known_lengths(cu_seqlens: torch.Tensor, tokens: int | None = None) -> Lengths | None:
    """The lengths behind a ``cu_seqlens`` if they are known already; never looks at the device.

    Of lengths that were announced, those are known that fit this many tokens, if no others do.
    """
    call = current_call()
    if call is None:
        return None
    found: Lengths | None = call.recall(_OF_BOUNDARIES, (cu_seqlens,))
    if found is None and tokens is not None:
        found = _announced(call, cu_seqlens.numel() - 1, tokens)
        if found is not None:
            call.remember(_OF_BOUNDARIES, (cu_seqlens,), found)
    return found


def _announced(call: EncoderCall, count: int, tokens: int) -> Lengths | None:
    """None where lengths that differ would fit alike: they cannot be told apart without a look at the device."""
    announced: tuple[Lengths, ...] = call.buffers.get(_ANNOUNCED, ())
    fitting = {each.values: each for each in announced if (len(each.values), sum(each.values)) == (count, tokens)}
    return next(iter(fitting.values())) if len(fitting) == 1 else None


def lengths_of(cu_seqlens: torch.Tensor) -> Lengths:
    """The lengths behind a ``cu_seqlens``: those that are known, else read, at the price of one copy."""
    found = known_lengths(cu_seqlens)
    return found if found is not None else _kept(_OF_BOUNDARIES, cu_seqlens, _differences(_read(cu_seqlens)))


def lengths_in(sequence_lengths: torch.Tensor) -> Lengths:
    """The lengths that a tensor holds as such, one per sequence, read once in an encoder call."""
    call = current_call()
    found: Lengths | None = call.recall(_OF_LENGTHS, (sequence_lengths,)) if call is not None else None
    return found if found is not None else _kept(_OF_LENGTHS, sequence_lengths, lengths_from(_read(sequence_lengths)))


def _kept(kind: str, tensor: torch.Tensor, lengths: Lengths) -> Lengths:
    call = current_call()
    if call is not None:
        call.remember(kind, (tensor,), lengths)
    return lengths


def _read(tensor: torch.Tensor) -> list[int]:
    values: list[int] = tensor.detach().cpu().reshape(-1).tolist()
    return values


def _differences(boundaries: list[int]) -> Lengths:
    return lengths_from(end - begin for begin, end in pairwise(boundaries))
