"""Declaring a reference implementation: which op it stands for, what stays on the host, what FakeTensor sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Reference:
    """One op overload, computed on CPU tensors that alias the arguments."""

    op: str
    compute: Callable[..., Any]
    host: frozenset[str]
    """Tensor arguments that the real op reads on the host: they must not be on the device."""
    after: Callable[..., None] | None
    """Called with the real arguments and result, for what the op does besides computing."""
    aliased: bool
    """Whether ``compute`` gets CPU tensors over the same memory, or the arguments as they are."""
    as_they_lie: frozenset[str]
    """Tensor arguments that the real op does not copy when they are strided. It makes all others contiguous, which is a
    hidden copy: an ATB op every argument (op-plugin, AtbCommon.cpp), an aclnn op by the rule of its interface."""
    kernel: bool
    """Whether the op runs anything on the device's cores."""


@dataclass(frozen=True)
class Fake:
    """The shapes of an op overload, where torch_npu has a Meta kernel for it."""

    op: str
    shapes: Callable[..., Any]
    since: str | None
    side_effect: bool
    """Whether a compiler must keep a call although nothing uses its result."""


REFERENCES: dict[str, Reference] = {}
FAKES: dict[str, Fake] = {}


def reference(
    *ops: str,
    host: tuple[str, ...] = (),
    after: Callable[..., None] | None = None,
    aliased: bool = True,
    as_they_lie: tuple[str, ...] = (),
    kernel: bool = True,
) -> Callable[[Function], Function]:
    """Declare a function as the reference implementation of ``ops``, e.g. ``"npu::npu_prefetch"``.

    It is called with the arguments of the chosen release's schema, all by name, defaults filled in.
    """

    def declare(compute: Function) -> Function:
        for op in ops:
            REFERENCES[op] = Reference(op, compute, frozenset(host), after, aliased, frozenset(as_they_lie), kernel)
        return compute

    return declare


def fake(*ops: str, since: str | None = None, side_effect: bool = False) -> Callable[[Function], Function]:
    """Declare a function as the Meta kernel of ``ops``, in torch_npu releases from ``since`` on."""

    def declare(shapes: Function) -> Function:
        for op in ops:
            FAKES[op] = Fake(op, shapes, since, side_effect)
        return shapes

    return declare
