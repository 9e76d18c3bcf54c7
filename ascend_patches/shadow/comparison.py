"""One call that is compared: the replacement answers it, and the original on copies of all that the call can reach.

What cannot be run twice as if the first time had not been is recognised before the original runs: by what the call is
given, by what the replacement did with it, and by what it answered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from types import FunctionType
from typing import Any, NamedTuple

from ascend_patches.shadow import aftermath
from ascend_patches.shadow.copies import Copies, NoCopyError, Room
from ascend_patches.shadow.randomness import RandomState
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
    error: Exception | None

    @classmethod
    def of(cls, function: Callable[..., Any], call: Call) -> Outcome:
        """Run a function. Its errors are kept, what is no error of a function is not."""
        try:
            return cls(call.of(function), None)
        except Exception as error:
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


class CopiedCall:
    """Copies of a call, of which one run is made, and what it left."""

    def __init__(self, call: Call, room: Room) -> None:
        self.copies = Copies(room)
        try:
            arguments = self.copies.of_arguments((call.args, call.kwargs))
            instance = tuple(map(self.copies.of_instance, call.instance))
        except BaseException:
            self.copies.give_back()
            raise
        args, kwargs = arguments
        # Tuples without anything that changes are no copies; a dictionary of arguments is the callee's own anyway.
        self.call = Call(instance, args, dict(kwargs))

    def outcome(self, function: Callable[..., Any], isolated: Callable[[Callable[[], Outcome]], Outcome]) -> Outcome:
        """The original's answer, with nothing of the run left but what is in the copies."""
        return copy_context().run(lambda: isolated(lambda: _outcome(function, self.call)))


class Comparison:
    """Compares one call; the caller gets ``answer``."""

    def __init__(
        self,
        call: Call,
        copied: CopiedCall,
        another: CopiedCall | None,
        original: FunctionType | None,
        difference: aftermath.Difference,
    ) -> None:
        self._call = call
        self._copied = copied
        self._another = another
        self._difference = difference
        self._watched = Watched(copied.copies, original)
        self._random = RandomState()
        self.patched = Outcome(None, None)
        self.original = Outcome(None, None)

    def run(
        self,
        replacement: Callable[..., Any],
        original: Callable[..., Any],
        isolated: Callable[[Callable[[], Outcome]], Outcome],
    ) -> Verdict:
        """Run both and judge."""
        self.patched = Outcome.of(replacement, self._call)
        reason = self._watched.changed() or aftermath.yet_to_run(self.patched.value)
        if reason:
            return Verdict("left_out", reason)
        self.original = self._of_original(original, isolated, self._copied)
        reason = self._watched.changed()
        if reason:
            self._watched.restore()
            return Verdict("left_out", f"the original {reason}", for_ever=True)
        reason = aftermath.yet_to_run(self.original.value)
        if reason:
            _close(self.original.value)
            return Verdict("left_out", reason)
        try:
            return self._judged(original, isolated)
        except Exception as error:
            return Verdict("left_out", f"answers that cannot be compared ({type(error).__name__})")

    def put_right(self) -> Any:
        """Leave with the caller what the original left with its copies; returns the original's answer."""
        copies = self._copied.copies
        aftermath.put_right(copies)
        return aftermath.real_of(self.original.value, copies, set())

    def give_back(self) -> None:
        """Give back the room that the copies took, and hold them no longer: an error keeps the frames above it."""
        for copied in filter(None, (self._copied, self._another)):
            copied.copies.give_back()
            vars(copied).clear()
        vars(self).clear()

    def _of_original(
        self,
        original: Callable[..., Any],
        isolated: Callable[[Callable[[], Outcome]], Outcome],
        copied: CopiedCall,
    ) -> Outcome:
        moved = RandomState()
        self._random.restore()
        try:
            return copied.outcome(original, isolated)
        finally:
            moved.restore()

    def _judged(self, original: Callable[..., Any], isolated: Callable[[Callable[[], Outcome]], Outcome]) -> Verdict:
        if self.original.error is not None:
            # Where both fail they agree; where only the original does, nothing says which of the two is right.
            return Verdict("compared" if self.patched.error is not None else "original_failed")
        if self.patched.error is not None:
            difference: str | None = f"{_described(self.patched.error)} where the original answers"
        else:
            difference = self._differs(self._left_by(self.patched, self._call))
        if difference is None:
            return Verdict("compared")
        if self._another is not None:
            again = self._of_original(original, isolated, self._another)
            self._watched.restore()
            if again.error is not None or self._differs(self._left_by(again, self._another.call)) is not None:
                return Verdict("left_out", "the original does not agree with itself")
        return Verdict("compared", difference=difference)

    def _differs(self, found: tuple[tuple[str, Any], ...]) -> str | None:
        expected = self._left_by(self.original, self._copied.call)
        for (name, one), (_, other) in zip(expected, found, strict=True):
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the caller has called the replacement, which did not end the process
        kept = error if isinstance(error, Exception) else RuntimeError(_described(error))
        return Outcome(None, kept.with_traceback(None))


def _within_function(error: Exception) -> Exception:
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


__all__ = ["Call", "Comparison", "CopiedCall", "NoCopyError", "Outcome", "Verdict"]
