"""One call that is compared: the replacement answers it, and the original on copies of all that the call can reach.

What cannot be run twice as if the first time had not been is recognised before the original runs: by what the call is
given, by what the replacement did with it, and by what it answered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from types import FunctionType
from typing import Any, NamedTuple

from ascend_patches.basics.interrupts import is_interrupt
from ascend_patches.shadow import aftermath
from ascend_patches.shadow.copies import Copies, NoCopyError, Room
from ascend_patches.shadow.randomness import RandomState
from ascend_patches.shadow.reach import Reach
from ascend_patches.shadow.watched import Watched


class Call(NamedTuple):
    """A call taken apart."""

    instance: tuple[Any, ...]
    """What a method is called on; nothing for a function."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of(self, function: Callable[..., Any]) -> Any:
        return function(*self.instance, *self.args, **self.kwargs)


class Outcome(NamedTuple):
    """What a function answered, or the error that it raised."""

    value: Any
    error: BaseException | None

    @classmethod
    def of(cls, function: Callable[..., Any], call: Call) -> Outcome:
        """Run a function. Whatever it raises is kept; an interrupt of the process is not its own."""
        try:
            return cls(call.of(function), None)
        except BaseException as error:
            if is_interrupt(error):
                raise
            return cls(None, _within_function(error))

    def result(self) -> Any:
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            # An error holds this frame, which must not hold the error.
            del self


class Verdict(NamedTuple):
    """What became of a comparison: ``what`` is counted, for a ``reason`` where there is one."""

    what: str
    reason: str = ""
    difference: str = ""
    for_ever: bool = False
    """Whether no call of this target need be tried again."""


Isolated = Callable[[Callable[[], Outcome]], Outcome]
"""Runs something apart from what patches keep for the call."""


class Isolation(NamedTuple):
    """What surrounds the runs of a comparison."""

    original: Isolated
    replacement: Isolated
    others_came_between: Callable[[], bool]
    """Whether other threads were inside the patch since the comparison began."""


class CopiedCall:
    """Copies of a call, of which one run is made, and what it left."""

    def __init__(self, call: Call, room: Room, reach: Reach) -> None:
        self.copies = Copies(room, reach.values)
        try:
            instance, arguments = self.copies.of_call(call.instance, (call.args, call.kwargs))
        except BaseException:
            self.copies.give_back()
            raise
        args, kwargs = arguments
        # Tuples without anything that changes are no copies; a dictionary of arguments is the callee's own anyway.
        self.call = Call(instance, args, dict(kwargs))

    def outcome(self, function: Callable[..., Any], isolated: Isolated) -> Outcome:
        """What a function answers, with nothing of the run left but what is in the copies."""
        return copy_context().run(lambda: isolated(lambda: _outcome(function, self.call)))


class Comparison:
    """Compares one call; the caller gets ``answer``."""

    def __init__(
        self,
        call: Call,
        copied: CopiedCall,
        another: CopiedCall | None,
        original: FunctionType | None,
        reach: Reach,
        difference: aftermath.Difference,
    ) -> None:
        self._call = call
        self._copied = copied
        self._another = another
        self._difference = difference
        self._watched = Watched(copied.copies, original, reach)
        if self._watched.only_once:
            raise NoCopyError(self._watched.only_once)
        self._random = RandomState()
        self._random_after = self._random
        self.patched = Outcome(None, None)
        self.original = Outcome(None, None)

    def run(self, replacement: Callable[..., Any], original: Callable[..., Any], isolation: Isolation) -> Verdict:
        """Run both and judge."""
        self.patched = Outcome.of(replacement, self._call)
        reason = self._watched.changed() or aftermath.yet_to_run(self.patched.value)
        if reason:
            return Verdict("left_out", reason)
        try:
            self.original = self._of_original(original, isolation.original, self._copied)
        except BaseException:
            self._watched.restore()
            raise
        reason = self._watched.changed_near()
        self._watched.restore()
        if reason:
            return Verdict("left_out", f"the original {reason}", for_ever=True)
        reason = aftermath.yet_to_run(self.original.value)
        if reason:
            _close(self.original.value)
            return Verdict("left_out", reason)
        try:
            return self._judged(replacement, original, isolation)
        except Exception as error:
            return Verdict("left_out", f"answers that cannot be compared ({type(error).__name__})")

    def put_right(self) -> None:
        """Leave with the caller what the original left with its copies, and the next random numbers as it did."""
        self._random_after.restore()
        aftermath.put_right(self._copied.copies)

    def answer_of_original(self) -> Outcome:
        """The original's answer or error, with the caller's own objects in it."""
        copies = self._copied.copies
        error = self.original.error
        return Outcome(
            aftermath.real_of(self.original.value, copies, set()),
            aftermath.real_of(error, copies, set()) if error is not None else None,
        )

    def give_back(self) -> None:
        """Give back the room that the copies took, and hold them no longer: an error keeps the frames above it."""
        for copied in filter(None, (self._copied, self._another)):
            copied.copies.give_back()
            vars(copied).clear()
        vars(self).clear()

    def _of_original(self, original: Callable[..., Any], isolated: Isolated, copied: CopiedCall) -> Outcome:
        moved = RandomState()
        self._random.restore()
        try:
            return copied.outcome(original, isolated)
        finally:
            self._random_after = RandomState()
            moved.restore()

    def _judged(self, replacement: Callable[..., Any], original: Callable[..., Any], isolation: Isolation) -> Verdict:
        if self.original.error is not None and self.patched.error is None:
            # Where only the original fails, nothing says which of the two is right.
            return Verdict("original_failed")
        difference = self._differs(self.patched, self._call)
        if difference is None:
            return Verdict("compared")
        if self._another is None:
            return Verdict("compared", difference=difference)
        after = self._random_after
        if isolation.others_came_between():
            # What they did to the object is no work of the replacement: on copies, nobody else comes to it.
            alone = self._of_original(replacement, isolation.replacement, self._another)
            if self._differs(alone, self._another.call) is None:
                return Verdict("left_out", "other threads were inside at the same time")
        else:
            again = self._of_original(original, isolation.original, self._another)
            if self._differs(again, self._another.call) is not None:
                self._watched.restore()
                return Verdict("left_out", "the original does not agree with itself")
        self._watched.restore()
        self._random_after = after
        return Verdict("compared", difference=difference)

    def _differs(self, found: Outcome, call: Call) -> str | None:
        """How another run of the call came out otherwise than the original's."""
        expected = self.original
        if found.error is not None or expected.error is not None:
            return _differing_errors(expected.error, found.error)
        sides = zip(self._left_by(expected, self._copied.call), self._left_by(found, call), strict=True)
        for (name, one), (_, other) in sides:
            difference = aftermath.difference(one, other, self._difference)
            if difference is not None:
                return f"{name}{'' if not name or difference.startswith(('[', '.')) else ': '}{difference}"
        return None

    def _left_by(self, outcome: Outcome, call: Call) -> tuple[tuple[str, Any], ...]:
        """The answer, and what a run left with its object and its arguments.

        Of a function that answers something, lists and tensors that it was given may have served as scratch space.
        """
        silent = self.original.value is None and self.patched.value is None
        named = [(f"argument {index}", each) for index, each in enumerate(call.args)]
        named += [(f"argument {name}", each) for name, each in call.kwargs.items()]
        left = [(name, each) for name, each in named if silent or not aftermath.is_scratch(each)]
        return (("", outcome.value), *(("the object", each) for each in call.instance), *left)


def _outcome(function: Callable[..., Any], call: Call) -> Outcome:
    try:
        return Outcome(call.of(function), None)
    except BaseException as error:  # the caller has called the replacement, which did not end the process
        if is_interrupt(error):
            raise
        return Outcome(None, error.with_traceback(None))


def _differing_errors(expected: BaseException | None, found: BaseException | None) -> str | None:
    """What a caller would notice of two errors: that there is one, and whether it is caught as the other would be."""
    if expected is None or found is None:
        return f"{_described(found)} where the original answers" if found is not None else "answers"
    if isinstance(found, type(expected)):
        return None
    return f"{_described(found)} where the original raises {type(expected).__name__}"


def _within_function(error: BaseException) -> BaseException:
    """An error without the frames above the function that raised it: the caller's own error would hold copies."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    return error.with_traceback(frames)


def _close(value: Any) -> None:
    """A coroutine that is never awaited would be complained of."""
    close = getattr(value, "close", None)
    if hasattr(value, "cr_frame") and close is not None:
        close()


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


__all__ = ["Call", "Comparison", "CopiedCall", "Isolation", "NoCopyError", "Outcome", "Verdict"]
