"""What stands at a target while its patch is shadowed: it calls the replacement, and at times the original beside it.

The original runs on copies, and apart from what the patches keep for a call. Within it every other rewrite of the same
patch is out as well, and within a replacement no other one of the same patch is judged: what is asked is what the patch
changes, and not what a part of it does. Rewrites of other patches stay, and nothing is compared there.

The caller gets what the replacement answers; of a call that turns out wrong, what the original does, and in its object
and arguments what the original left there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from threading import local
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from ascend_patches.declaring.patch import Rewrite
from ascend_patches.replacing.find import Found
from ascend_patches.replacing.replace import dressed_like
from ascend_patches.shadow import described
from ascend_patches.shadow.apart import apart
from ascend_patches.shadow.chosen import Chosen
from ascend_patches.shadow.comparison import Call, Comparison, CopiedCall, Isolation, NoCopyError, Outcome, Verdict
from ascend_patches.shadow.copies import ROOM, Copies
from ascend_patches.shadow.patience import Patience
from ascend_patches.shadow.reach import Reach
from ascend_patches.shadow.young import YOUNG_GARBAGE
from ascend_patches.upstream.fingerprints import plain_function

if TYPE_CHECKING:
    from ascend_patches.shadow.patch_shadow import PatchShadow

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

_MOST_FRAMES = 1_000
_FRAMES_OF_OURS = 150
"""So many frames less than a call has left for itself may be taken up by a comparison of it."""
_NOT_A_CALL = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Mismatch(NamedTuple):
    """One call that the replacement answered otherwise than the original."""

    target: str
    difference: str
    called_with: str
    inputs: Inputs | None
    """Arguments as they were before the call, where they are to be kept."""

    def __str__(self) -> str:
        return f"{self.target}: {self.difference}; called with {self.called_with}"


class _Thread(local):
    """Within whose shadow run a thread is, if in any."""

    within: PatchShadow | object | None = None


_NO_PATCH = object()
"""Stands for a run in which all replacements are in, and nothing is compared."""


_THREAD = _Thread()


class Shadow:
    """One target of a shadowed patch."""

    __slots__ = ("_chosen", "_patience", "_said", "found", "patch", "replacement", "retired", "rewrite", "value")

    def __init__(self, patch: PatchShadow, rewrite: Rewrite, found: Found, value: Any) -> None:
        self.patch = patch
        self.rewrite = rewrite
        self.found = found
        self.value = value
        self.replacement = _callable(value, found)
        self.retired = False
        self._chosen = Chosen(patch.share)
        self._patience = Patience()
        self._said: set[str] = set()

    def retire(self) -> None:
        """From now on the original answers every call, also those of holders of what was installed."""
        self.retired = True

    def original(self, *args: Any, **kwargs: Any) -> Any:
        # Looked up in ``found`` for each call, so that a search for holders of the original does not end here.
        return _callable(self.found.value, self.found)(*args, **kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        traffic = self.patch.traffic
        traffic.enter()
        try:
            return self._call(args, kwargs)
        finally:
            traffic.leave()

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        within = _THREAD.within
        if within is self.patch:
            return self.original(*args, **kwargs)
        if within is not None or not self._chosen() or self._is_beyond_comparison():
            return self.replacement(*args, **kwargs)
        if self._patience.skips():
            self.patch.count("left_out", self._patience.reason)
            return self.replacement(*args, **kwargs)
        with YOUNG_GARBAGE:
            outcome = self._compared(self._taken_apart(args, kwargs))
        if outcome is None:
            return self.replacement(*args, **kwargs)
        try:
            return outcome.result()
        finally:
            # An error holds this frame, which must not hold the error.
            del outcome

    def _is_beyond_comparison(self) -> bool:
        """Whether this thread is in another replacement of the patch, or so deep that a comparison has no room.

        Replacements within each other are judged together, by the outer one.
        """
        frame: FrameType | None = sys._getframe(3)
        for _ in range(min(_MOST_FRAMES, sys.getrecursionlimit() - _FRAMES_OF_OURS)):
            if frame is None:
                return False
            if frame.f_code in self.patch.codes:
                return True
            frame = frame.f_back
        return frame is not None and sys.getrecursionlimit() <= _MOST_FRAMES + _FRAMES_OF_OURS

    def _taken_apart(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        count = 1 if self._has_instance() else 0
        return Call(args[:count], args[count:], kwargs)

    def _has_instance(self) -> bool:
        kind = type(self.found.value)
        return isinstance(self.found.owner, type) and kind is not staticmethod and kind is not classmethod

    def _compared(self, call: Call) -> Outcome | None:
        """What the caller gets; None, with nothing run, where the call cannot be compared."""
        # Before the copies are made: what other threads do from then on is not in them.
        isolation = self._isolation()
        comparison = self._prepared(call)
        if comparison is None:
            return None
        try:
            untouched = self._untouched(call)
            verdict = comparison.run(self.replacement, self.original, isolation)
            return self._answer(verdict, comparison, call, untouched)
        finally:
            comparison.give_back()

    def _prepared(self, call: Call) -> Comparison | None:
        """Copies of the call, made before anything is run; None where it cannot be run twice."""
        # What talks to other ranks must be run by all of them or by none; whether they agree is not known here.
        if not self.rewrite.rank_local and _is_one_of_several_ranks():
            self._left_out("one of several ranks")
            return None
        try:
            function = plain_function(self.found.value)
            reach = Reach((function,), [type(each) for each in (*call.instance, *call.args)])
            copied = CopiedCall(call, ROOM, reach)
        except NoCopyError as why:
            self._left_out(str(why))
            return None
        except Exception as error:
            self._complain_of("not compared: no copies could be made of what it was called with", error)
            self._left_out("no copies could be made")
            return None
        try:
            # Of the copy, and not of the call: another thread may have changed the object since.
            another = CopiedCall(copied.call, ROOM, reach)
        except Exception:  # no room for a second one, which is needed only where a difference has to be confirmed
            another = None
        try:
            return Comparison(call, copied, another, function, reach, self.patch.difference)
        except NoCopyError as why:
            for each in filter(None, (copied, another)):
                each.copies.give_back()
            self._left_out(str(why))
            return None

    def _untouched(self, call: Call) -> Inputs | None:
        """The arguments as they are before the call, where those of a difference are to be kept."""
        if not self.patch.folder:
            return None
        copies = Copies(ROOM)
        try:
            _, (args, kwargs) = copies.of_call((), (call.args, call.kwargs))
        except Exception:
            return None
        finally:
            copies.give_back()
        return args, kwargs

    def _left_out(self, reason: str, for_ever: bool = False) -> None:
        self._patience.came_to_nothing(reason, for_ever)
        self.patch.count("left_out", reason)

    def _isolation(self) -> Isolation:
        was_inside, before = self.patch.traffic.seen_from_here()

        def others_came_between() -> bool:
            inside, now = self.patch.traffic.seen_from_here()
            return was_inside or inside or now != before

        return Isolation(partial(_isolated, self.patch), partial(_isolated, _NO_PATCH), others_came_between)

    def _answer(self, verdict: Verdict, comparison: Comparison, call: Call, untouched: Inputs | None) -> Outcome:
        """Count a verdict, tell of it, and return what the caller gets."""
        if verdict.what == "left_out":
            self._left_out(verdict.reason, verdict.for_ever)
            return comparison.patched
        self.patch.count(verdict.what)
        if verdict.what == "original_failed":
            self._patience.came_to_nothing("the original failed")
            error = comparison.original.error
            self._complain_of("not compared: the original failed where the replacement did not", error)
            return comparison.patched
        self._patience.was_compared()
        if not verdict.difference:
            return comparison.patched
        self._tell(verdict.difference, call, untouched)
        try:
            comparison.put_right()
        except Exception as error:
            self._complain_of("what it wrote into its arguments could not be put right", error)
        return comparison.answer_of_original()

    def _tell(self, difference: str, call: Call, untouched: Inputs | None) -> None:
        try:
            function = plain_function(self.found.value)
            called_with = described.call(function, (*call.instance, *call.args), call.kwargs)
            self.patch.mismatched(Mismatch(self.rewrite.target, difference, called_with, untouched))
        except Exception as error:
            self._complain_of(f"answers otherwise than the original ({difference}), and telling so failed", error)

    def _complain_of(self, what: str, error: BaseException | None) -> None:
        """Say a problem, the first of each kind: the words of an error may be others in every call."""
        if what not in self._said:
            self._said.add(what)
            self.patch.callbacks.complain(
                f"{self.patch.patch.name}: {self.rewrite.target}: {what}: {_described(error)}"
            )


def _isolated(within: object, run: Callable[[], Outcome]) -> Outcome:
    _THREAD.within = within
    try:
        with apart():
            return run()
    finally:
        _THREAD.within = None


def in_front(patch: PatchShadow, rewrite: Rewrite, found: Found, value: Any) -> tuple[Any, Shadow] | None:
    """What to install instead of a prepared value, and its shadow; None where calls cannot be compared."""
    replacement_itself = plain_function(rewrite.replacement())
    if replacement_itself is not None:
        patch.codes.add(replacement_itself.__code__)
    original = plain_function(found.value)
    if not rewrite.compared or original is None or found.name == "__init__":
        return None
    if original.__code__.co_flags & _NOT_A_CALL:  # it answers with something that has yet to run
        return None
    shadow = Shadow(patch, rewrite, found, value)
    replacement, recorded = shadow.replacement, _recorded()

    def shadowed(*args: Any, **kwargs: Any) -> Any:
        if shadow.retired:
            return shadow.original(*args, **kwargs)
        # Before anything else where a compiler traces: it takes this for a constant, and goes on in the replacement.
        if recorded():
            return replacement(*args, **kwargs)
        return shadow.call(args, kwargs)

    shadowed.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return dressed_like(rewrite, found, shadowed), shadow


def _callable(value: Any, found: Found) -> Callable[..., Any]:
    """The function of what stands, or stood, at a target: called with the instance or class where there is one."""
    kind = type(value)  # not isinstance: advice passes for what it is around
    if kind is FunctionType or not isinstance(found.owner, type):
        return value  # type: ignore[no-any-return]
    if kind in (staticmethod, classmethod):
        return value.__func__  # type: ignore[no-any-return]
    if kind is property:
        return value.fget  # type: ignore[no-any-return]
    around, owner = type(found.value), found.owner

    def bound(*args: Any, **kwargs: Any) -> Any:
        if around is staticmethod:
            return value.__get__(None, owner)(*args, **kwargs)
        holder = (None, args[0]) if around is classmethod else (args[0], type(args[0]))
        return value.__get__(*holder)(*args[1:], **kwargs)

    return bound


def _recorded() -> Callable[[], bool]:
    """Tells whether Python is only being recorded; code that came without torch never is."""
    if "torch" not in sys.modules:
        return lambda: False
    from ascend_patches.basics.recording import being_recorded

    return being_recorded


def _is_one_of_several_ranks() -> bool:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    return bool(distributed.get_world_size() > 1)


def _described(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
