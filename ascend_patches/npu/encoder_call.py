"""One call of an encoder: what its layers have in common is made once, kept while the call lasts, and then forgotten.

Values belong to tensor *objects*, compared with ``is``. A call keeps these objects alive, so that none of them can be
another tensor under the same identity; addresses, shapes and layer numbers say nothing about a tensor's values.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ascend_patches.basics.recording import being_recorded
from ascend_patches.declaring import first_call
from ascend_patches.shadow.apart import isolate

Tensors = tuple[torch.Tensor, ...]


class EncoderCall:
    """What is known during one call of an encoder."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[Any, ...], Any] = {}
        self.shared: dict[int, Any] = {}
        """What layers share that are given one ``cu_seqlens``, by its id: what is shared keeps it alive."""
        self.bound: dict[Any, Any] = {}
        """What layers alike do that are told of the same sequences, by the id of a tensor that it keeps alive."""
        self.turns: dict[tuple[Any, ...], Any] = {}
        """How layers alike rotate that are given the same cos and sin, by the ids of these, which it keeps alive."""
        self._known: dict[str, list[tuple[Tensors, Any]]] = {}

    def __enter__(self) -> EncoderCall:
        if not being_recorded():
            first_call.happens()
        CALLS.open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        CALLS.open.remove(self)

    def recall(self, kind: str, tensors: Tensors) -> Any | None:
        """What was remembered of exactly these tensors, or None."""
        return next((value for known, value in self._known.get(kind, ()) if _same(known, tensors)), None)

    def remember(self, kind: str, tensors: Tensors, value: Any) -> None:
        """Keep a value of these tensors for the rest of the call, in place of an earlier one."""
        entries = self._known.setdefault(kind, [])
        entries[:] = [entry for entry in entries if not _same(entry[0], tensors)]
        entries.append((tensors, value))


class _Calls(threading.local):
    """The calls that a thread is in the middle of, innermost last."""

    def __init__(self) -> None:
        self.open: list[EncoderCall] = []


CALLS = _Calls()


def encoder_call() -> EncoderCall:
    """For ``with``, around one call of an encoder; a call within a call knows nothing of the outer one."""
    return EncoderCall()


@contextmanager
def no_call() -> Iterator[None]:
    """Around what must neither know nor change anything of the calls that this thread is in."""
    CALLS.open, put_aside = [], CALLS.open
    try:
        yield
    finally:
        CALLS.open = put_aside


isolate(no_call)


def current_call() -> EncoderCall | None:
    """The call this thread is in, or None: outside of calls, and while Python is being recorded."""
    return CALLS.open[-1] if CALLS.open and not being_recorded() else None


def _same(some: Tensors, others: Tensors) -> bool:
    # Not ==: of tensors that compares elements, on the device.
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
