"""How an emulated op refuses a call: the checks that ops share, and how a refusal is worded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ._ops._state import STATE

HALF_PRECISION = (torch.float16, torch.bfloat16)
FLOATING = (torch.float16, torch.bfloat16, torch.float32)


class RefusedCallError(RuntimeError):
    """The real op refuses this call, so the emulated one does too (with RuntimeError, as torch_npu's checks do)."""


class NotEmulatedError(NotImplementedError):
    """The real op or module has this, the emulated one does not; a made-up result would be worse than none."""


@dataclass(frozen=True)
class Checks:
    """The checks of one op; each says what was wrong with which argument."""

    op: str

    def refuse(self, problem: str) -> RefusedCallError:
        return RefusedCallError(f"{self.op}: {problem} [emulated torch_npu {STATE.release}]")

    def require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise self.refuse(problem)

    def emulated(self, holds: bool, what: str, file: str) -> None:
        """Require what the real op can do but the reference implementation in ``file`` cannot."""
        if not holds:
            raise NotEmulatedError(f"{self.op}: {what} is not emulated; add it to emulated_npu/_ops/{file}")

    def dtype(self, allowed: Sequence[torch.dtype], **tensors: torch.Tensor | None) -> None:
        """Require an allowed dtype; ``install(..., allow_float32=True)`` lets float32 pass everywhere."""
        accepted = {*allowed, torch.float32} if STATE.allow_float32 else {*allowed}
        for name, tensor in tensors.items():
            if tensor is not None and tensor.dtype not in accepted:
                names = ", ".join(_short(dtype) for dtype in allowed)
                raise self.refuse(f"{name} is {_short(tensor.dtype)}; the op takes {names}")

    def same_dtype(self, **tensors: torch.Tensor | None) -> None:
        kinds = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
        if len(set(kinds.values())) > 1:
            found = ", ".join(f"{name} {_short(dtype)}" for name, dtype in kinds.items())
            raise self.refuse(f"the dtypes must be the same, but found {found}")

    def dims(self, *allowed: int, **tensors: torch.Tensor) -> None:
        for name, tensor in tensors.items():
            if tensor.dim() not in allowed:
                takes = " or ".join(str(count) for count in allowed)
                raise self.refuse(
                    f"{name} has {tensor.dim()} dimensions, shape {list(tensor.shape)}; the op takes {takes}"
                )

    def shape(self, expected: Sequence[int], **tensors: torch.Tensor) -> None:
        for name, tensor in tensors.items():
            if list(tensor.shape) != list(expected):
                raise self.refuse(f"{name} has shape {list(tensor.shape)}; expected {list(expected)}")

    def contiguous(self, **tensors: torch.Tensor | None) -> None:
        for name, tensor in tensors.items():
            if tensor is not None and not tensor.is_contiguous():
                raise self.refuse(f"{name} is not contiguous (strides {list(tensor.stride())})")

    def host_lengths(self, name: str, tensor: torch.Tensor) -> list[int]:
        """The values of a tensor of lengths that the op reads on the host: int32, one-dimensional."""
        if tensor.dtype != torch.int32:
            raise self.refuse(f"{name} is {_short(tensor.dtype)}; the op takes int32")
        self.dims(1, **{name: tensor})
        lengths: list[int] = tensor.tolist()
        if any(length < 0 for length in lengths):
            raise self.refuse(f"{name} has negative lengths: {lengths}")
        return lengths

    def grouped_heads(self, num_heads: int, num_kv_heads: int, limit: int | None = None) -> int:
        """How many query heads share a key head."""
        self.require(num_heads > 0, f"num_heads should be greater than 0, but got {num_heads}")
        self.require(
            num_kv_heads > 0 and num_heads % num_kv_heads == 0,
            f"num_heads ({num_heads}) must be a multiple of the key heads ({num_kv_heads})",
        )
        group = num_heads // num_kv_heads
        self.require(
            limit is None or group <= limit, f"{group} query heads for one key head; at most {limit} are taken"
        )
        return group

    def cumulative(self, name: str, ends: Sequence[int], *, total: int, limit: int) -> list[int]:
        """The lengths behind a host list of sequence ends: cumulative, without a leading 0, ending at ``total``."""
        self.require(0 < len(ends) <= limit, f"{name} has {len(ends)} entries; the op takes 1 to {limit} sequences")
        listed = _abridged(ends)
        self.require(
            ends[0] != 0 or total == 0,
            f"{name} starts with 0: {listed}; it is the end of each sequence, without a leading 0",
        )
        lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        self.require(
            all(length >= 0 for length in lengths), f"{name} must be cumulative and not decrease, but is {listed}"
        )
        self.require(
            ends[-1] == total,
            f"the last entry of {name} is {ends[-1]}, but there are {total} tokens: {listed}",
        )
        return lengths


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _abridged(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return f"[{shown}, ...]" if len(values) > 8 else f"[{shown}]"
