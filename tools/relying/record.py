"""Run on one release: which upstream code each applied patch depends on, found out by running its checks.

A replacement depends on what it calls, on what it reads from objects, and on what upstream's function would have
entered and the replacement does not: the helper that it repeats or bypasses. Prints one JSON object, target -> what it
depends on -> how.
"""

from __future__ import annotations

import dis
import inspect
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import torch

from ascend_patches import apply_patches, revert_patches
from ascend_patches.checks import device, runner
from ascend_patches.checks.check import declared
from ascend_patches.commands import verify_process as process
from ascend_patches.declaring.patch import Patch
from ascend_patches.patches import PATCHES
from ascend_patches.starting.this_process import toolkit
from ascend_patches.upstream.fingerprints import plain_function

UPSTREAM = ("vllm", "vllm_ascend")
BETWEEN = ("torch", "functools", "contextlib", "wrapt")
DRIVING = ("ascend_patches.checks", "ascend_patches.commands")
DTYPE = "bfloat16"
_GETTER = "__getattribute__"

Names = dict[str, set[str]]
"""What was entered or read while a target ran, by target."""


def main() -> None:
    with process.without_collecting():
        device.bring(emulated=True)
        process.import_targets(PATCHES)
    apply_patches()
    applied = {name: status for name, status in toolkit.patches.items() if status.state == "applied"}
    cases = cases_of([patch for patch in PATCHES if patch.name in applied])
    targets = {target for status in applied.values() for target in status.sites}
    owners = {target: (name, status.variant) for name, status in applied.items() for target in status.sites}
    patched = Recorder(targets)
    run(cases, patched)
    reads = Reads(patched.classes, reading := Recorder(targets))
    with reads.recorded():
        run(cases, reading)
    revert_patches()
    original = Recorder(targets)
    run(cases, original)
    found = [
        {
            "patch": owners[target][0],
            "variant": getattr(owners[target][1], "name", ""),
            "target": target,
            "depends": depends(target, patched, original, reads),
        }
        for target in sorted(targets)
    ]
    print(json.dumps(found), flush=True)
    # Nothing is left to be done, and taking apart all that was imported takes a while.
    os._exit(0)


def depends(target: str, patched: Recorder, original: Recorder, reads: Reads) -> dict[str, str]:
    """What a replacement depends on, and how. Another target is not among it: the patch that replaces it knows it."""
    found = dict.fromkeys(sorted(original.entered[target] - patched.entered[target]), "bypassed")
    found |= dict.fromkeys(sorted(patched.called[target]), "called")
    found |= dict.fromkeys(sorted(reads.set_by[target]), "sets what is read")
    return {name: how for name, how in found.items() if name not in patched.targets}


def cases_of(patches: list[Patch]) -> list[runner.Case]:
    """The cases of what is applied, with one dtype: which code is entered does not depend on it."""
    cases = [case for patch in patches for case in runner.cases_of(patch.name, declared(patch))]
    return [case for case in cases if case.dtype == DTYPE]


def run(cases: list[runner.Case], recorder: Recorder) -> None:
    for case in cases:
        call = case.check.prepare(getattr(torch, case.dtype))
        try:
            with torch.inference_mode(), recorder:
                call.run()
        except Exception:
            # The release refuses the case, or the patch mends it: the other side has it.
            continue


class Recorder:
    """Notes which upstream functions are entered while targets run, and which of them our code calls itself."""

    def __init__(self, targets: Collection[str]) -> None:
        self.targets = targets
        self.entered: Names = defaultdict(set)
        self.called: Names = defaultdict(set)
        self.classes: set[type] = set()
        self._running: list[tuple[FrameType, str]] = []

    def __enter__(self) -> None:
        self._running.clear()
        sys.setprofile(self._event)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def innermost(self) -> str | None:
        """The target that is running."""
        return self._running[-1][1] if self._running else None

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self._enter(frame)
        elif event == "return":
            if self._running and self._running[-1][0] is frame:
                self._running.pop()
            if self._running and _is_ours(frame):
                self.classes.update(_upstream_classes(frame))

    def _enter(self, frame: FrameType) -> None:
        name = _name_of(frame)
        if name is None:
            return
        if (running := self.innermost) is not None:
            self.entered[running].add(name)
            if _is_ours(_caller(frame)):
                self.called[running].add(name)
        if name in self.targets:
            self._running.append((frame, name))


class Reads:
    """Notes which attributes our code reads from upstream's objects, and which functions set them."""

    def __init__(self, classes: set[type], recorder: Recorder) -> None:
        self.classes = classes
        self.recorder = recorder
        self.set_by: Names = defaultdict(set)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        for cls in self.classes:
            setattr(cls, _GETTER, self._getter(getattr(cls, _GETTER)))
        try:
            yield
        finally:
            for cls in self.classes:
                delattr(cls, _GETTER)

    def _getter(self, getter: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        def get(instance: Any, name: str) -> Any:
            if _is_ours(sys._getframe(1)) and (target := self.recorder.innermost) is not None:
                self.set_by[target].update(_setters(type(instance), name))
            return getter(instance, name)

        return get


def _setters(cls: type, name: str) -> set[str]:
    """The upstream constructors of a class that store an attribute."""
    found = set()
    for base in cls.__mro__:
        if not _is_upstreams(base):
            continue
        made = base.__dict__.get("__init__")
        code = getattr(plain_function(made), "__code__", None)
        if code is not None and any(
            step.opname == "STORE_ATTR" and step.argval == name for step in dis.get_instructions(code)
        ):
            found.add(f"{base.__module__}:{base.__qualname__}.__init__")
    return found


def _caller(frame: FrameType) -> FrameType:
    """The nearest frame that is not torch's: a module is called through several of torch's own functions."""
    caller = frame.f_back
    while caller is not None and caller.f_back is not None and _root(caller) in BETWEEN:
        caller = caller.f_back
    return caller if caller is not None else frame


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith("ascend_patches.") and not name.startswith(DRIVING) and not name.endswith("checks")


def _upstream_classes(frame: FrameType) -> Iterator[type]:
    for value in frame.f_locals.values():
        cls = type(value)
        if _is_upstreams(cls) and _GETTER not in cls.__dict__:
            yield cls


def _name_of(frame: FrameType) -> str | None:
    """``module:Class.method`` of an upstream function, or of what replaces it; None for any other.

    The class is the one whose method was asked for: an override in a subclass is another function.
    """
    code, written_upstream = frame.f_code, _root(frame) in UPSTREAM
    if not (written_upstream or _is_ours(frame)):
        return None
    first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    cls = first if isinstance(first, type) else type(first)
    if _is_upstreams(cls):
        for name in dict.fromkeys((code.co_name, *_names_of_replaced(cls, code))):
            function = plain_function(inspect.getattr_static(cls, name, None))
            if function is not None and function.__code__ is code:
                return f"{cls.__module__}:{cls.__qualname__}.{name}"
    named = written_upstream and "<" not in code.co_qualname
    return f"{frame.f_globals['__name__']}:{code.co_qualname}" if named else None


def _names_of_replaced(cls: type, code: CodeType) -> Iterator[str]:
    """Under which names a class has a function that was written elsewhere under another name."""
    for base in cls.__mro__:
        if _is_upstreams(base):
            yield from (name for name, value in vars(base).items() if getattr(value, "__code__", None) is code)


def _is_upstreams(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in UPSTREAM and "<" not in cls.__qualname__


if __name__ == "__main__":
    main()
