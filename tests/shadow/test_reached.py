"""Whatever a call reaches is used and written once, and a right patch stays: by kinds of objects and places."""

from __future__ import annotations

import collections
import contextvars
import ctypes
import decimal
import functools
import gc
import hashlib
import io
import itertools
import mmap
import operator
import os
import queue
import random
import signal
import sys
import textwrap
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from shadow.test_side_effects import Engine, Shadowed, filled, method, shadowed

Go = Callable[[Any], Any]


class Deque(collections.deque):  # type: ignore[type-arg]
    pass


class MadeOtherwise(list):  # type: ignore[type-arg]
    def __new__(cls, size: int) -> MadeOtherwise:
        return list.__new__(cls)

    def __init__(self, size: int) -> None:
        list.__init__(self, [size])


class Structure(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int),)


class Circle:
    def __init__(self) -> None:
        self.me, self.n = self, 0


def count(thing: Any) -> None:
    thing.n += 1


def count_all(things: Any) -> None:
    for thing in things:
        count(thing)


def numbers(things: Any) -> list[int]:
    return [thing.n for thing in things]


def with_weak_reference() -> Any:
    thing = Engine(n=0)
    return thing, weakref.ref(thing)


def with_weak_keys() -> Any:
    thing = Engine(n=0)
    table: Any = weakref.WeakKeyDictionary()
    table[thing] = []
    return thing, table


def variable() -> Any:
    return contextvars.ContextVar("variable", default=0)


def with_proxy() -> Any:
    thing = Engine(n=0)
    return thing, weakref.proxy(thing)


HELD: dict[str, tuple[Callable[[], Any], Go, Callable[[Any], Any]]] = {
    "simple queue": (lambda: filled(filled(queue.SimpleQueue())), lambda x: x.get_nowait(), lambda x: x.qsize()),
    "hash": (hashlib.sha256, lambda x: x.update(b"a"), lambda x: x.hexdigest()),
    "compressor": (zlib.compressobj, lambda x: x.compress(b"a" * 9), lambda x: x.flush()),
    "memory map": (lambda: mmap.mmap(-1, 100), lambda x: x.write(b"a"), lambda x: x.tell()),
    "array of C": (lambda: (ctypes.c_int * 3)(), lambda x: x.__setitem__(0, x[0] + 1), list),
    "structure of C": (Structure, lambda x: setattr(x, "a", x.a + 1), lambda x: x.a),
    "objects in a set": (lambda: {Engine(n=0)}, count_all, numbers),
    "objects in a frozen set": (lambda: frozenset({Engine(n=0)}), count_all, numbers),
    "objects as keys": (lambda: {Engine(n=0): 1}, count_all, numbers),
    "objects in keys": (lambda: {(Engine(n=0),): 1}, lambda x: count_all(*x), lambda x: numbers(*x)),
    "weak reference": (with_weak_reference, lambda x: count(x[1]()), lambda x: x[0].n),
    "weak keys": (with_weak_keys, lambda x: x[1][x[0]].append(1), lambda x: list(x[1].values())),
    "proxy": (with_proxy, lambda x: count(x[1]), lambda x: x[0].n),
    "chain of tables": (lambda: collections.ChainMap({}, {}), lambda x: x.update(a=x.get("a", 0) + 1), dict),
    "deque of a kind of its own": (Deque, lambda x: (x.append(1), type(x))[1], lambda x: (type(x), list(x))),
    "list that is made otherwise": (lambda: MadeOtherwise(3), lambda x: x.append(1), list),
    "order": (lambda: collections.OrderedDict(a=1, b=2), lambda x: x.move_to_end(next(iter(x))), list),
    "circle": (Circle, lambda x: count(x.me.me), lambda x: x.n),
    "exception": (lambda: ValueError([1]), lambda x: x.args[0].append(1), lambda x: x.args),
    "exception's attribute": (lambda: ValueError(1), lambda x: setattr(x, "n", getattr(x, "n", 0) + 1), vars),
    "decimal context": (lambda: decimal.Context(prec=1), lambda x: setattr(x, "prec", x.prec + 1), lambda x: x.prec),
    "context variable": (variable, lambda x: x.set(x.get() + 1) and None, lambda x: x.get()),
    "counter of iterations": (itertools.count, lambda x: next(x), lambda x: next(x)),
}  # fmt: skip


def agrees_with_a_call_without_shadow(
    go: Go, make: Callable[[], Any], state: Callable[[Any], Any], install: Callable[[Go], tuple[Go, Shadowed]]
) -> Shadowed:
    plain, given = make(), make()
    expected = [go(plain) for _ in range(3)], state(plain)
    call, shadow = install(go)
    assert ([call(given) for _ in range(3)], state(given)) == expected
    assert shadow.reverted == []
    return shadow


def as_argument(go: Go) -> tuple[Go, Shadowed]:
    shadow = shadowed(go, go)
    return shadow.call, shadow


def as_attribute(go: Go) -> tuple[Go, Shadowed]:
    def work(self: Engine) -> Any:
        return go(self.held)

    shadow = method(work, work)
    return lambda x: shadow.call(Engine(held=x)), shadow


@pytest.mark.parametrize("install", [as_argument, as_attribute])
@pytest.mark.parametrize(("make", "go", "state"), HELD.values(), ids=HELD)
def test_what_is_held_is_used_once(
    make: Callable[[], Any], go: Go, state: Callable[[Any], Any], install: Callable[[Go], tuple[Go, Shadowed]]
) -> None:
    agrees_with_a_call_without_shadow(go, make, state, install)


# Callables that a call is given, with what they know

CALLABLES: dict[str, Callable[[list[int]], Any]] = {
    "method of a list": lambda seen: seen.append,
    "special method": lambda seen: functools.partial(seen.__setitem__, slice(0, 0)),
    "lambda": lambda seen: lambda x: seen.append(x[0]),
    "default": lambda seen: lambda x, seen=seen: seen.append(x[0]),
    "partial": lambda seen: functools.partial(seen.extend),
    "variable": lambda seen: counting(seen),
}


def counting(seen: list[int]) -> Callable[[Any], None]:
    number = 0

    def call(x: Any) -> None:
        nonlocal number
        number += 1
        seen[:] = [number]

    return call


@pytest.mark.parametrize("install", [as_argument, as_attribute])
@pytest.mark.parametrize("made", CALLABLES.values(), ids=CALLABLES)
def test_what_is_passed_to_be_called_is_called_once(
    made: Callable[[list[int]], Any], install: Callable[[Go], tuple[Go, Shadowed]]
) -> None:
    plain: list[int] = []
    given: list[int] = []
    for seen, call in ((plain, lambda f: f([1])), (given, install(lambda f: f([1]))[0])):
        called = made(seen)
        for _ in range(3):
            call(called)
    assert given == plain


# State of a module


class Held(Engine):
    """Of a kind of its own, because other tests count what is left of engines."""


STATE = Held(n=0, log=[], inner=Held(n=0))
NUMBER = 0
LOG: list[int] = []
SOURCE = iter(range(10_000))
FILE = io.StringIO()
QUEUE: Any = queue.Queue()
LOCAL = threading.local()
LOCAL.n = 0
RANDOM = random.Random(1)
VARIABLE = contextvars.ContextVar("variable", default=0)


class Totals:
    log: list[int] = []  # noqa: RUF012  that it is shared is the point
    n = 0


def helper() -> None:
    global NUMBER
    NUMBER += 1
    LOG.append(1)


def helper_of_helper() -> None:
    helper()


def environment(x: int) -> None:
    os.environ["ASCEND_PATCHES_OF_A_TEST"] = "1" + os.environ.get("ASCEND_PATCHES_OF_A_TEST", "")


def imported(x: int) -> None:
    import textwrap as there

    there.LOG.append(1)  # type: ignore[attr-defined]


def other_module(x: int) -> None:
    textwrap.NUMBER = getattr(textwrap, "NUMBER", 0) + 1  # type: ignore[attr-defined]


textwrap.NUMBER = 0  # type: ignore[attr-defined]
textwrap.LOG = LOG  # type: ignore[attr-defined]

MODULES: dict[str, tuple[Go, Callable[[], int]]] = {
    "by a helper": (lambda x: helper(), lambda: NUMBER),
    "by a helper of a helper": (lambda x: helper_of_helper(), lambda: len(LOG)),
    "attribute": (lambda x: count(STATE), lambda: STATE.n),
    "list in an object": (lambda x: STATE.log.append(1), lambda: len(STATE.log)),
    "object in an object": (lambda x: count(STATE.inner), lambda: STATE.inner.n),
    "iterator": (lambda x: next(SOURCE), lambda: -operator.length_hint(SOURCE)),
    "file": (lambda x: FILE.write("a"), FILE.tell),
    "queue": (lambda x: QUEUE.put(1), QUEUE.qsize),
    "list of a class": (lambda x: Totals.log.append(1), lambda: len(Totals.log)),
    "number of a class": (lambda x: count(Totals), lambda: Totals.n),
    "another module": (other_module, lambda: textwrap.NUMBER),  # type: ignore[attr-defined]
    "a module that it imports": (imported, lambda: len(LOG)),
    "environment": (environment, lambda: len(os.environ.get("ASCEND_PATCHES_OF_A_TEST", ""))),
    "of the thread": (lambda x: count(LOCAL), lambda: LOCAL.n),
    "context": (lambda x: VARIABLE.set(VARIABLE.get() + 1) and None, VARIABLE.get),
}


@pytest.mark.parametrize(("go", "number"), MODULES.values(), ids=MODULES)
def test_what_a_module_holds_is_written_once(go: Go, number: Callable[[], int]) -> None:
    shadow, before = shadowed(go, go), number()
    for _ in range(3):
        shadow.call(1)
    assert (number() - before, shadow.reverted) == (3, [])


TABLE = {"a": 1, "b": [2]}
SEEN = {1, 2}
NAMES = ["a", "b"]
MODULES_OF_PYTHON = sys.modules
READ: dict[str, Go] = {
    "a dictionary": lambda x: x + TABLE["a"],  # type: ignore[operator]
    "a set": lambda x: x + len(SEEN),
    "a list": lambda x: x + len(NAMES),
    "the environment": lambda x: x + len(os.environ.get("HOME", "")),
    "the interpreter's modules": lambda x: x + ("sys" in sys.modules),
    "the interpreter's modules by another name": lambda x: x + ("sys" in MODULES_OF_PYTHON),
}


@pytest.mark.parametrize("go", READ.values(), ids=READ)
def test_what_a_module_holds_and_a_call_only_reads_leaves_the_call_compared(go: Go) -> None:
    work = shadowed(go, functools.wraps(go)(lambda x: go(x)))
    assert work.call(1) == go(1)
    assert (work.counts, work.reasons) == ((1, 0, 0), [])


def test_a_module_that_is_imported_meanwhile_is_the_interpreters_business() -> None:
    def original(x: int) -> int:
        sys.modules["imported_in_a_compared_call"] = sys
        return x

    work = shadowed(original, original)
    try:
        assert work.call(1) == 1
        assert (work.counts, "imported_in_a_compared_call" in sys.modules) == ((1, 0, 0), True)
    finally:
        sys.modules.pop("imported_in_a_compared_call", None)


def test_a_generator_of_random_numbers_of_a_module_draws_once() -> None:
    RANDOM.seed(1)
    expected = [RANDOM.random() for _ in range(3)]
    RANDOM.seed(1)
    shadow = shadowed(lambda x: RANDOM.random(), lambda x: RANDOM.random())
    assert [shadow.call(1) for _ in range(3)] == expected


def test_what_a_function_keeps_on_itself_is_written_once() -> None:
    keeps_calls.calls = 0  # type: ignore[attr-defined]
    shadow = shadowed(keeps_calls, keeps_calls)
    for _ in range(3):
        shadow.call(1)
    assert keeps_calls.calls == 3  # type: ignore[attr-defined]


def keeps_calls(x: int) -> None:
    keeps_calls.calls += 1  # type: ignore[attr-defined]


MARK = Held()
NAMED_MARK = Held(name="mark")


@pytest.mark.parametrize("mark", [MARK, NAMED_MARK], ids=["without attributes", "with attributes"])
def test_what_a_function_knows_by_name_is_itself_in_both_runs(mark: Engine) -> None:
    def work(x: Any) -> bool:
        return x is MARK or x is NAMED_MARK

    shadow = shadowed(work, work)
    assert (shadow.call(mark), shadow.counts) == (True, (1, 0, 0))


# Answers that nothing can be said about, and answers that hold what both runs made

ANSWERS: dict[str, Go] = {
    "iterator in an object": lambda x: SimpleNamespace(rows=iter([1])),
    "generator in an object": lambda x: Engine(rows=(each for each in [1])),
    "object": lambda x: object(),
    "hash": lambda x: hashlib.sha256(b"a"),
    "function": lambda x: lambda: x,
    "partial": lambda x: functools.partial(int, x),
    "class": lambda x: type("Made", (), {}),
    "exception": lambda x: [ValueError(Engine(n=1))],
    "lock": lambda x: threading.Lock(),
    "thread": lambda x: threading.Thread(target=print),
    "view of memory": lambda x: memoryview(b"abc"),
    "no number in a set": lambda x: {float("nan")},
    "objects in a set": lambda x: {Engine(n=1), Engine(n=2)},
    "too deep": lambda x: functools.reduce(lambda inner, _: [inner], range(5_000), 1),  # type: ignore[arg-type,return-value]
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_no_answer_accuses_the_same_code(answer: Go) -> None:
    shadow = shadowed(answer, answer)
    for _ in range(3):
        assert type(shadow.call(1)) is type(answer(1))
    assert shadow.reverted == []


class Result:
    def __init__(self, engine: Any) -> None:
        self.engine = engine


class OwnError(Exception):
    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.engine = engine


WITH_THE_CALLERS: dict[str, tuple[Go, Callable[[Any], Any]]] = {
    "object": (Result, lambda x: x.engine),
    "object in an object": (lambda x: Result(Result(x)), lambda x: x.engine.engine),
    "deque": (lambda x: collections.deque([x]), lambda x: x[0]),
    "set": (lambda x: {x}, lambda x: x.pop()),
    "frozen set": (lambda x: frozenset({x}), lambda x: next(iter(x))),
    "method": (lambda x: x.note, lambda x: x.__self__),
    "exception": (OwnError, lambda x: x.args[0] if x.args[0] is x.engine else None),
}


class Noted(Engine):
    def note(self) -> None: ...


@pytest.mark.parametrize(("made", "held"), WITH_THE_CALLERS.values(), ids=WITH_THE_CALLERS)
def test_the_originals_answer_holds_the_callers_own_objects(made: Go, held: Callable[[Any], Any]) -> None:
    given, out = Noted(n=1), Engine(last=None)

    def original(x: Any, out: Engine) -> Any:
        out.last = made(x)
        return made(x)

    shadow = shadowed(original, lambda x, out: 1)
    answer = shadow.call(given, out)
    assert (held(answer) is given, held(out.last) is given, len(shadow.reverted)) == (True, True, 1)


# Errors


class Odd(BaseException):
    pass


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Odd])
def test_whatever_a_replacement_raises_where_the_original_answers_is_put_right(kind: type[BaseException]) -> None:
    def wrong(x: list[int]) -> int:
        x.append(2)
        raise kind("no")

    shadow, given = shadowed(lambda x: (x.append(1), 1)[1], wrong), []  # type: ignore[var-annotated]
    assert (shadow.call(given), given, len(shadow.reverted)) == (1, [1], 1)


def test_an_error_that_a_caller_would_not_catch_is_a_difference() -> None:
    def original(x: Any) -> None:
        raise OwnError(x)

    def wrong(x: Any) -> None:
        raise TypeError("another")

    shadow, given = shadowed(original, wrong), Engine(n=1)
    with pytest.raises(OwnError) as raised:
        shadow.call(given)
    assert raised.value.engine is given
    assert "TypeError: another where the original raises OwnError" in shadow.said[0]


@pytest.mark.parametrize("kind", [SystemExit, Odd, KeyError])
def test_an_error_of_both_is_the_callers(kind: type[BaseException]) -> None:
    def work(x: int) -> None:
        raise kind(3)

    shadow = shadowed(work, work)
    with pytest.raises(kind) as raised:
        shadow.call(1)
    assert (raised.value.args, shadow.counts, shadow.reverted) == ((3,), (1, 0, 0), [])


def test_an_interrupt_of_the_process_is_no_ones_answer() -> None:
    def original(x: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return x

    shadow = shadowed(original, lambda x: x)
    # Where the tests run in the background, a shell has this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            shadow.call(1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (shadow.counts, shadow.reverted) == ((0, 0, 0), [])


# What was written wrong, wherever it is


class Closed(dict):  # type: ignore[type-arg]
    def clear(self) -> None:
        raise RuntimeError

    update = clear  # type: ignore[assignment]


class ClosedList(list):  # type: ignore[type-arg]
    def __setitem__(self, *_: Any) -> None:
        raise RuntimeError


class Begun:
    pass


class Ended(Begun):
    pass


def become(kind: type) -> Go:
    return lambda x: setattr(x, "__class__", kind)


WRITTEN: dict[str, tuple[Callable[[], Any], Go, Go, Callable[[Any], Any], Any]] = {
    "closed table": (Closed, lambda x: dict.__setitem__(x, 1, 1), lambda x: dict.__setitem__(x, 1, 2), dict, {1: 1}),
    "closed list": (ClosedList, lambda x: x.append(1), lambda x: x.append(2), list, [1]),
    "class": (Begun, become(Ended), lambda x: None, type, Ended),
}


@pytest.mark.parametrize(("make", "original", "wrong", "state", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_what_was_written_wrong_is_put_right_past_what_a_class_does_about_it(
    make: Callable[[], Any], original: Go, wrong: Go, state: Callable[[Any], Any], expected: Any
) -> None:
    shadow, given = shadowed(lambda x: original(x) and None, lambda x: wrong(x) and None), make()
    shadow.call(given)
    assert (state(given), len(shadow.reverted)) == (expected, 1)


def test_the_next_random_numbers_are_those_after_the_original() -> None:
    random.seed(3)
    expected = [random.random(), random.random()]
    random.seed(3)
    shadow = shadowed(lambda x: random.random(), lambda x: [random.random() for _ in range(5)][-1])
    assert [shadow.call(1), random.random()] == expected


# Threads, signals, the stack, the collector


def test_what_other_threads_do_to_an_object_is_not_the_patchs_work() -> None:
    lock, engine = threading.Lock(), Engine(n=0)

    def go(self: Engine) -> None:
        with lock:
            self.n += 1
        time.sleep(0.001)

    shadow = method(go, go)
    threads = [threading.Thread(target=lambda: [shadow.call(engine) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (engine.n, shadow.reverted) == (80, [])


def test_a_wrong_patch_is_found_out_while_other_threads_are_inside() -> None:
    entered, leave = threading.Event(), threading.Event()

    def go(self: Engine, wait: bool) -> int:
        if wait:
            entered.set()
            leave.wait(20)
        return 1

    def wrong(self: Engine, wait: bool) -> int:
        return go(self, wait) + 1

    shadow = method(go, wrong)
    thread = threading.Thread(target=shadow.call, args=(Engine(), True))
    thread.start()
    entered.wait(20)
    answer = shadow.call(Engine(), False)
    leave.set()
    thread.join()
    assert (answer, len(shadow.reverted) > 0) == (1, True)


def test_a_signals_handler_may_call_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = shadowed(lambda x: x, lambda x: x)
    before = signal.signal(signal.SIGUSR1, lambda *_: shadow.call(1))
    try:
        with shadow.patch.counts._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert shadow.counts == (1, 0, 0)


def test_a_call_that_has_just_enough_stack_has_it_with_a_shadow_too() -> None:
    shadow = shadowed(lambda x: x, lambda x: x)

    def deeper(levels: int) -> int:
        return int(shadow.call(1)) if levels == 0 else deeper(levels - 1)

    assert [deeper(levels) for levels in range(700, 940, 5)] == [1] * 48


def test_a_call_that_switches_the_collector_off_has_switched_it_off() -> None:
    def work(x: int) -> None:
        gc.disable()

    shadow = shadowed(work, work)
    try:
        shadow.call(1)
        assert not gc.isenabled()
    finally:
        gc.enable()
