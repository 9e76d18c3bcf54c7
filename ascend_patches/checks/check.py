"""A check: a case that a patch has to keep, how to call it, and what it should give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ascend_patches.declaring.gates import Gate, always, installed
from ascend_patches.declaring.patch import Patch
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.errors import DeclarationError

if TYPE_CHECKING:
    import torch

    Outputs: TypeAlias = torch.Tensor | Mapping[str, torch.Tensor]

# Where there is no kernel of an NPU to compare bits with: vLLM alone computes in other steps than the patches do.
WITH_VLLM_ASCEND = installed("vllm-ascend")
NOWHERE = ~always


class Call(NamedTuple):
    """One call of the code that a patch changes, on objects and inputs of its own."""

    run: Callable[[], Outputs]
    """What is counted and timed: one tensor, or several by name. May be called again and gives the same again."""
    exact: Callable[[], Outputs] | None = None
    """The same in float64 on the host, from the same inputs, by code that neither side shares. May leave some out."""


@dataclass(frozen=True)
class Check:
    """A case, and what has to hold for it on each release."""

    name: str
    prepare: Callable[[torch.dtype], Call]
    """Makes objects and inputs: random, but the same whenever it is called."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    where: Gate = always
    """The releases that have the case."""
    bitwise: Gate = always
    """The releases whose own result has to be kept bit for bit; on others both have to be near float64."""
    mended: Gate = NOWHERE
    """The releases that refuse the case or compute something else, which the patch mends: only float64 counts."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    """How far from float64 a result may be."""


def declared(patch: Patch) -> tuple[Check, ...]:
    """The checks that a patch declares, imported now."""
    if not patch.checks:
        return ()
    module, _, name = patch.checks.partition(":")
    try:
        found = tuple(getattr(import_module(module), name))
    except Exception as error:
        raise DeclarationError(
            f"the checks of the patch {patch.name}, {patch.checks!r}, cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not all(isinstance(check, Check) for check in found):
        raise DeclarationError(
            f"the checks of the patch {patch.name}, {patch.checks!r}, are not all of the class Check"
        )
    return found
