"""Runs checks as upstream and as patched, and says what is different."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.checks import emulation
from ascend_patches.checks.check import Call, Check, declared
from ascend_patches.declaring.patch import Patch
from ascend_patches.declaring.tolerance import error_of

if TYPE_CHECKING:
    import emulated_npu

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One check of one patch, with one dtype."""

    patch: str
    check: Check
    dtype: str

    def __str__(self) -> str:
        return f"{self.patch}: {self.check.name}, {self.dtype}"


@dataclass
class Counts:
    """What a call asks of the device; the emulated one counts it."""

    copies: int
    """From the device to the host."""
    waits: int
    """How often the host stands still for the device, for copies in both directions among others."""
    kernels: int
    """What the device runs, with the copies of strided arguments."""
    dispatches: int


@dataclass
class Side:
    """What upstream, or the patched code, made of a case."""

    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    refused: str = ""
    counts: Counts | None = None
    exact: dict[str, torch.Tensor] = field(default_factory=dict)
    mistake: str = ""
    """What is wrong with the check itself: it says nothing about the patch then."""
    again: Callable[[], object] | None = None
    """Calls it again, on the same objects."""


@dataclass
class Outcome:
    """A case, as upstream and as patched. Errors are shares of the largest magnitude that float64 gives."""

    case: Case
    expected: str
    """``bitwise``, ``near`` (within the tolerance of float64), or ``mended`` (upstream is wrong or refuses)."""
    bitwise: bool
    original: Side
    patched: Side
    original_error: float | None
    patched_error: float | None
    problem: str


def cases(patches: Iterable[Patch]) -> list[Case]:
    """What the patches declare for the release that is here."""
    return [case for patch in patches for case in cases_of(patch.name, declared(patch))]


def cases_of(patch: str, checks: Iterable[Check]) -> list[Case]:
    return [Case(patch, check, dtype) for check in checks if check.where for dtype in check.dtypes]


def sides(of: list[Case], *, exact: bool, progress: Progress = lambda _: None) -> list[Side]:
    """What every case gives with whatever is applied now, each on objects of its own; ``exact`` where nothing is."""
    found = []
    for case in of:
        progress(str(case))
        found.append(_side(case, exact=exact))
    return found


def compared(of: list[Case], originals: list[Side], patched: list[Side]) -> list[Outcome]:
    return [_outcome(*each) for each in zip(of, originals, patched, strict=True)]


def _side(case: Case, *, exact: bool) -> Side:
    side = Side()
    try:
        call = case.check.prepare(getattr(torch, case.dtype))
        if not isinstance(call, Call):
            raise TypeError(f"prepare gives {type(call).__name__} and no Call")
    except Exception as error:
        return Side(refused=_described(error), mistake=f"cannot be prepared: {_described(error)}")
    try:
        with torch.inference_mode():
            call.run()
            # Once more: what is made once for all calls is made by now, and what is kept must not be wrong by now.
            with _counting() as log:
                outputs = call.run()
            side.outputs = _on_the_host(outputs)
            if log is not None:
                side.counts = Counts(len(log.device_to_host), log.stalls, log.kernels, log.dispatches)
    except Exception as error:
        side.refused = _described(error)
    if exact and call.exact is not None:
        try:
            with torch.inference_mode():
                side.exact = _on_the_host(call.exact())
        except Exception as error:
            side.mistake = f"gives no float64 result: {_described(error)}"
    side.again = call.run
    return side


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _counting() -> Iterator[emulated_npu.Log | None]:
    if not emulation.in_use():
        yield None
        return
    with emulation.required().record() as log:
        yield log


def _on_the_host(outputs: Any) -> dict[str, torch.Tensor]:
    named = outputs if isinstance(outputs, Mapping) else {"": outputs}
    for name, output in named.items():
        if not isinstance(output, torch.Tensor):
            raise TypeError(
                f"{f'the output {name}' if name else 'the output'} is {type(output).__name__} and no tensor"
            )
    # A copy: an output may be a buffer that the next call writes to.
    return {name: tensor.detach().cpu().clone() for name, tensor in named.items()}


def _outcome(case: Case, original: Side, patched: Side) -> Outcome:
    check = case.check
    expected = "mended" if check.mended else "bitwise" if check.bitwise else "near"
    exact = original.exact
    bitwise = _same_bits(original, patched)
    outcome = Outcome(
        case, expected, bitwise, original, patched, _error(exact, original), _error(exact, patched), problem=""
    )
    outcome.problem = _problem(outcome)
    return outcome


def _problem(outcome: Outcome) -> str:
    """What is wrong with the patched side; nothing if nothing is."""
    original, patched = outcome.original, outcome.patched
    mistake = original.mistake or patched.mistake
    if mistake:
        return f"its check {mistake}"
    if patched.refused:
        if original.refused and outcome.expected != "mended":
            return "" if not emulation.in_use() else f"cannot be run, patched or not: {original.refused}"
        return f"the patched code raises {patched.refused}"
    tolerance = outcome.case.check.tolerance
    if outcome.expected != "mended" and not original.refused:
        if outcome.expected == "bitwise" and not outcome.bitwise:
            return f"not the bits of upstream: {_difference(original.outputs, patched.outputs)}"
        if outcome.expected == "near" and outcome.patched_error is None:
            return tolerance.close(original.outputs, patched.outputs) or ""
    if outcome.patched_error is None:
        return ""
    allowed = tolerance.of(getattr(torch, outcome.case.dtype))
    if outcome.expected != "mended":
        # Not farther from the truth than upstream is, where that is farther than it should be.
        allowed = max(allowed, outcome.original_error or 0.0)
    if outcome.patched_error <= allowed:
        return ""
    return f"off by {outcome.patched_error:.3g} of the largest value from float64, where {allowed:.3g} is allowed"


def _error(exact: Mapping[str, torch.Tensor], side: Side) -> float | None:
    """The largest error of a side; infinite where an output is not as large as it should be."""
    if not exact or side.refused:
        return None
    return max(
        error_of(tensor, side.outputs[name])
        if name in side.outputs and side.outputs[name].numel() == tensor.numel()
        else float("inf")
        for name, tensor in exact.items()
    )


def _same_bits(original: Side, patched: Side) -> bool:
    if original.refused or patched.refused or original.outputs.keys() != patched.outputs.keys():
        return False
    return all(_bits(tensor) == _bits(patched.outputs[name]) for name, tensor in original.outputs.items())


def _bits(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype, bytes]:
    return tensor.shape, tensor.dtype, tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _difference(original: Mapping[str, torch.Tensor], patched: Mapping[str, torch.Tensor]) -> str:
    """Which output is how far from upstream's."""
    if original.keys() != patched.keys():
        return f"it gives {sorted(patched)} instead of {sorted(original)}"
    for name, tensor in original.items():
        found, where = patched[name], f"{name} is " if name else ""
        if tensor.shape != found.shape or tensor.dtype != found.dtype:
            return f"{where}{list(found.shape)} of {found.dtype} instead of {list(tensor.shape)} of {tensor.dtype}"
    name = max(original, key=lambda each: error_of(original[each], patched[each]))
    error = error_of(original[name], patched[name])
    return f"{f'{name} is ' if name else ''}off by {error:.3g} of its largest value"
