"""cos and sin in the form that npu_rotary_mul takes, made once per encoder call.

Models have one value for each pair of channels; the op wants one for each channel, in the layout and the type of its
input. Layers of one encoder share their cos and sin, so these tables are kept with the open encoder call.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from ascend_patches.basics.recording import being_captured
from ascend_patches.npu.encoder_call import CALLS, EncoderCall
from ascend_patches.npu.padding import stream_of

Mode = Literal["half", "interleave"]
"""Which channels make a pair: those of the two halves (neox style), or neighbours (GPT-J style)."""


class Form(NamedTuple):
    """How tables have to be for an input."""

    mode: Mode
    dtype: torch.dtype
    rows: int
    """1 where all rows of a batch share their positions, else the size of the batch."""


class Tables(NamedTuple):
    """[rows, tokens, 1, rotary width] each."""

    cos: torch.Tensor
    sin: torch.Tensor


class _Kept(NamedTuple):
    cos: torch.Tensor
    sin: torch.Tensor
    tables: Tables


class Latest:
    """The latest tables of a call, of one form and on one stream."""

    most = 4
    """Encoders that alternate have two; of one that makes new ones in every layer, more would fill the memory."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._asked_again = False

    @property
    def in_vain(self) -> bool:
        """Whether none was ever asked for again."""
        return not self._asked_again and len(self._kept) == self.most

    def of(self, cos: torch.Tensor, sin: torch.Tensor, form: Form) -> Tables:
        for kept in self._kept:
            if kept.cos is cos and kept.sin is sin:
                self._asked_again = True
                return kept.tables
        tables = made(cos, sin, form)
        self._kept = [*self._kept[1 - self.most :], _Kept(cos, sin, tables)]
        return tables


def call_of_tables() -> EncoderCall | None:
    """The call that tables are kept with; a compiler cannot see through those of a thread, so there is none for it."""
    if torch.compiler.is_compiling():
        return None
    return CALLS.open[-1] if CALLS.open and not being_captured() else None


def tables_of(cos: torch.Tensor, sin: torch.Tensor, form: Form) -> Tables:
    """The tables of these very tensors."""
    return tables_in(call_of_tables(), cos, sin, form)


def tables_in(call: EncoderCall | None, cos: torch.Tensor, sin: torch.Tensor, form: Form) -> Tables:
    """The same, kept with a call that is known."""
    if call is None:
        return _laid_out(cos, sin, form)
    return latest_in(call, form, stream_of(cos.device)).of(cos, sin, form)


def latest_in(call: EncoderCall, form: Form, stream: int) -> Latest:
    """Each stream has its own, because it may not read what another makes without waiting for it."""
    key = ("rotary tables", form, stream)
    latest: Latest | None = call.buffers.get(key)
    if latest is None:
        latest = call.buffers[key] = Latest()
    return latest


def made(cos: torch.Tensor, sin: torch.Tensor, form: Form) -> Tables:
    """Tables in the type of the input, because the op would cast them to that in every layer."""
    return _laid_out(cos.to(form.dtype), sin.to(form.dtype), form)


def _laid_out(cos: torch.Tensor, sin: torch.Tensor, form: Form) -> Tables:
    return Tables(_table(cos, form), _table(sin, form))


def _table(values: torch.Tensor, form: Form) -> torch.Tensor:
    by_channel = torch.cat((values, values), dim=-1) if form.mode == "half" else values.repeat_interleave(2, dim=-1)
    return by_channel.reshape(form.rows, -1, 1, by_channel.shape[-1])
