"""What stands at a target while its patch is shadowed: it calls the replacement, and at times the original beside it.

The original runs on copies, on a stand-in for the instance, and apart from what the patches keep for a call. Within
it every other rewrite of the same patch is out as well: what is asked is what this patch changes, and not what a
part of it does. Rewrites of other patches stay, and nothing is compared there.

The caller gets what the replacement answers; of a call that turns out wrong, what the original does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from threading import local
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from ascend_patches.declaring.patch import Rewrite
from ascend_patches.replacing.find import Found
from ascend_patches.replacing.replace import dressed_like
from ascend_patches.shadow import described
from ascend_patches.shadow.apart import apart
from ascend_patches.shadow.chosen import Chosen
from ascend_patches.shadow.copies import ROOM, copied, size_of, stand_in
from ascend_patches.upstream.fingerprints import plain_function

if TYPE_CHECKING:
    from ascend_patches.shadow.patch_shadow import PatchShadow

_NOT_A_CALL = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Mismatch(NamedTuple):
    """One call that the replacement answered otherwise than the original."""

    target: str
    difference: str
    called_with: str
    inputs: tuple[tuple[Any, ...], dict[str, Any]] | None
    """Arguments as they were before the call, where they are to be kept."""

    def __str__(self) -> str:
        return f"{self.target}: {self.difference}; called with {self.called_with}"


class _Thread(local):
    """Within whose shadow run a thread is, if in any."""

    within: PatchShadow | None = None


_THREAD = _Thread()


class _Call(NamedTuple):
    instance: tuple[Any, ...]
    """What a method is called on; nothing for a function."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def on_a_stand_in(self) -> _Call:
        """The same call of an object that nobody else has."""
        return self._replace(instance=tuple(map(stand_in, self.instance)))


class _Outcome(NamedTuple):
    value: Any
    error: Exception | None

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class Shadow:
    """One target of a shadowed patch."""

    __slots__ = ("_chosen", "found", "patch", "replacement", "retired", "rewrite", "value")

    def __init__(self, patch: PatchShadow, rewrite: Rewrite, found: Found, value: Any) -> None:
        self.patch = patch
        self.rewrite = rewrite
        self.found = found
        self.value = value
        self.replacement = _callable(value, found)
        self.retired = False
        self._chosen = Chosen(patch.share)

    def retire(self) -> None:
        """From now on the original answers every call, for whoever still holds what was installed."""
        self.retired = True

    def original(self, *args: Any, **kwargs: Any) -> Any:
        # Looked up in ``found`` for each call, so that a search for who still holds the original does not end here.
        return _callable(self.found.value, self.found)(*args, **kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        within = _THREAD.within
        if within is self.patch:
            return self._run(self.original, self._taken_apart(args, kwargs).on_a_stand_in())
        if within is not None or not self._chosen():
            return self.replacement(*args, **kwargs)
        return self._compared(self._taken_apart(args, kwargs))

    def _taken_apart(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        count = 1 if self._has_instance() else 0
        return _Call(args[:count], args[count:], kwargs)

    def _has_instance(self) -> bool:
        kind = type(self.found.value)
        return isinstance(self.found.owner, type) and kind is not staticmethod and kind is not classmethod

    def _run(self, function: Callable[..., Any], call: _Call) -> Any:
        return function(*call.instance, *call.args, **call.kwargs)

    def _compared(self, call: _Call) -> Any:
        times = 2 if self.patch.folder else 1
        size = times * size_of((call.args, call.kwargs))
        if not self._comparable() or not ROOM.take(size):
            self.patch.count("left_out")
            return self._run(self.replacement, call)
        try:
            return self._compared_with(call, self._copies(call, times))
        finally:
            ROOM.give_back(size)

    def _comparable(self) -> bool:
        # What talks to other ranks must be run by all of them or by none; whether they agree is known to nobody here.
        return self.rewrite.rank_local or not _is_one_of_several_ranks()

    def _copies(self, call: _Call, times: int) -> list[_Call]:
        """What the original is called with, and what is kept; nothing where no copies can be made."""
        try:
            apart_from_it = call.on_a_stand_in()
            made = [copied((call.args, call.kwargs), {}) for _ in range(times)]
        except Exception as error:
            self._complain_of("not compared: no copies could be made of what it was called with", error)
            return []
        return [_Call(apart_from_it.instance, args, kwargs) for args, kwargs in made]

    def _compared_with(self, call: _Call, copies: list[_Call]) -> Any:
        patched = self._outcome(self.replacement, call)
        if not copies:
            self.patch.count("left_out")
            return patched.result()
        original = self._shadow_run(copies[0])
        difference = self._judged(call, copies[0], original, patched)
        if difference is None:
            return patched.result()
        self._tell(difference, call, copies[1:])
        return original.value

    def _shadow_run(self, call: _Call) -> _Outcome:
        _THREAD.within = self.patch
        try:
            with apart():
                return self._outcome(self.original, call)
        finally:
            _THREAD.within = None

    def _outcome(self, function: Callable[..., Any], call: _Call) -> _Outcome:
        try:
            return _Outcome(self._run(function, call), None)
        except Exception as error:
            return _Outcome(None, error)

    def _judged(self, call: _Call, copy: _Call, original: _Outcome, patched: _Outcome) -> str | None:
        """What the replacement did otherwise, in words."""
        if original.error is not None:
            # Where both fail they agree; where only the original does, nobody knows who is right.
            self.patch.count("compared" if patched.error is not None else "original_failed")
            if patched.error is None:
                self._complain_of("not compared: the original failed where the replacement did not", original.error)
            return None
        if patched.error is not None:
            self.patch.count("compared")
            return f"{_described(patched.error)} where the original answers"
        # What answers nothing is there for what it writes.
        silent = original.value is None and patched.value is None
        both = ((copy.args, copy.kwargs), (call.args, call.kwargs)) if silent else (original.value, patched.value)
        try:
            difference = self.patch.difference(*both)
        except Exception as error:
            self.patch.count("left_out")
            self._complain_of("not compared: what it answered cannot be", error)
            return None
        self.patch.count("compared")
        return difference

    def _tell(self, difference: str, call: _Call, untouched: list[_Call]) -> None:
        try:
            function = plain_function(self.found.value)
            called_with = described.call(function, (*call.instance, *call.args), call.kwargs)
            inputs = (untouched[0].args, untouched[0].kwargs) if untouched else None
            self.patch.mismatched(Mismatch(self.rewrite.target, difference, called_with, inputs))
        except Exception as error:
            self._complain_of(f"answers otherwise than the original ({difference}), and telling so failed", error)

    def _complain_of(self, what: str, error: Exception) -> None:
        self.patch.told.complain(f"{self.patch.patch.name}: {self.rewrite.target}: {what}: {_described(error)}")


def in_front(patch: PatchShadow, rewrite: Rewrite, found: Found, value: Any) -> tuple[Any, Shadow] | None:
    """What to install instead of a prepared value, and its shadow; None where calls cannot be compared."""
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


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
