"""Which calls are inside some functions: running in any thread, or suspended: generators, coroutines, greenlets."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType
from typing import Any

from ascend_patches.replacing.find import function_of
from ascend_patches.upstream.fingerprints import plain_function

_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
OURSELVES = "this thread"


def calls_inside(
    frames: Mapping[int, FrameType], codes: Mapping[CodeType, str], wrappers: frozenset[CodeType]
) -> list[str]:
    """The calls inside the functions of some codes, in words; of this thread, those of wrappers do not count."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    ours = threading.get_ident()
    found = []
    for thread, frame in frames.items():
        thread_name = OURSELVES if thread == ours else f"thread {names.get(thread, thread)}"
        for code in _stack(frame):
            if code in codes:
                found.append(f"{thread_name} is inside {codes[code]}")
            elif code in wrappers and thread != ours:
                found.append(f"{thread_name} is about to call it")
    for code in _codes_of_greenlets():
        if code in codes:
            found.append(f"{codes[code]} is suspended in a greenlet")
    suspended = [code for code in codes if code.co_flags & _SUSPENDED]
    if suspended:
        found += [f"{codes[code]} is suspended" for code in _suspended(suspended)]
    return list(dict.fromkeys(found))


def codes_of(value: Any) -> Iterator[CodeType]:
    """The codes that a call of what stands at a target runs first."""
    seen: set[int] = set()
    ahead = [value]
    while ahead:
        each = ahead.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each = function_of(each)
        if isinstance(each, FunctionType):
            yield each.__code__
            if "__wrapped__" in each.__dict__:
                ahead.append(each.__wrapped__)  # type: ignore[attr-defined]
        elif hasattr(each, "_self_wrapper"):  # advice, or a wrapper of another tool that is made as ours are
            ahead.append(each._self_wrapper)
        elif isinstance(each, partial):
            ahead.append(each.func)
        elif plain_function(each) is not None:
            ahead.append(plain_function(each))
        else:
            call = next((base.__dict__["__call__"] for base in type(each).__mro__ if "__call__" in base.__dict__), None)
            if isinstance(call, FunctionType):
                yield call.__code__


def _stack(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _codes_of_greenlets() -> Iterator[CodeType]:
    """What runs in greenlets that others run instead of: no thread's stack shows them."""
    kind = getattr(sys.modules.get("greenlet"), "greenlet", None)
    if isinstance(kind, type):
        for each in gc.get_objects():
            if issubclass(type(each), kind):
                yield from _stack(each.gr_frame)


def _suspended(codes: list[CodeType]) -> Iterator[CodeType]:
    """The codes of generators and coroutines that have not ended, started or not."""
    for referrer in gc.get_referrers(*codes):
        if isinstance(referrer, GeneratorType):
            frame, code = referrer.gi_frame, referrer.gi_code
        elif isinstance(referrer, CoroutineType):
            frame, code = referrer.cr_frame, referrer.cr_code
        elif isinstance(referrer, AsyncGeneratorType):
            frame, code = referrer.ag_frame, referrer.ag_code
        else:
            continue
        if frame is not None:
            yield code
