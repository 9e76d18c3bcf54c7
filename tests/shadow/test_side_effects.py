"""Shadow runs change no answer and no state: what cannot be run twice is recognised, what was wrong is put right."""

from __future__ import annotations

import array
import asyncio
import collections
import dataclasses
import functools
import io
import logging
import queue
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Patch, Rewrite, Variant
from ascend_patches.replacing.find import Found
from ascend_patches.settings.model import Choice
from ascend_patches.shadow.patch_shadow import Callbacks, PatchShadow


class Shadowed(NamedTuple):
    """A function with a shadow in front of it, and what was said about it."""

    call: Callable[..., Any]
    patch: PatchShadow
    said: list[str]
    reverted: list[str]

    @property
    def counts(self) -> tuple[int, int, int]:
        counts = self.patch.counts
        return counts.compared, counts.mismatches, counts.left_out

    @property
    def reasons(self) -> list[str]:
        return list(self.patch.counts.reasons)


def shadow_of(**rewrites: tuple[Callable[..., Any], Callable[..., Any]]) -> dict[str, Shadowed]:
    """Functions of one patch, each an original and its replacement, all of whose calls are compared."""
    made = [Rewrite(f"{__name__}:{name}", replace=ours) for name, (_, ours) in rewrites.items()]
    patch = Patch("quick", "a patch for a test", (Variant("only", always, tuple(made)),))
    said: list[str] = []
    reverted: list[str] = []
    callbacks = Callbacks(said.append, lambda: None, lambda name, reason: reverted.append(reason))
    shadow = PatchShadow(patch, Choice(True, "", {}, "skip", shadow=1.0, quarantine=1), callbacks)
    owner = ModuleType(__name__)
    installed = {}
    for rewrite, (name, (original, ours)) in zip(made, rewrites.items(), strict=True):
        found = Found(owner, name, original, False)
        installed[name] = Shadowed(shadow.in_front(rewrite, found, ours), shadow, said, reverted)
    return installed


def shadowed(original: Callable[..., Any], ours: Callable[..., Any]) -> Shadowed:
    return shadow_of(work=(original, ours))["work"]


def method(original: Callable[..., Any], ours: Callable[..., Any]) -> Shadowed:
    """The same for a method; the call is given the object first."""
    rewrite = Rewrite(f"{__name__}:Engine.go", replace=ours)
    patch = Patch("quick", "a patch for a test", (Variant("only", always, (rewrite,)),))
    said: list[str] = []
    reverted: list[str] = []
    callbacks = Callbacks(said.append, lambda: None, lambda name, reason: reverted.append(reason))
    shadow = PatchShadow(patch, Choice(True, "", {}, "skip", shadow=1.0, quarantine=1), callbacks)
    installed = shadow.in_front(rewrite, Found(Engine, "go", original, False), ours)
    return Shadowed(installed, shadow, said, reverted)


class Engine:
    """Something with a state."""

    seen: list[int] = []  # noqa: RUF012  that it is shared is the point
    made = 0

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


# What can be used once only


async def coroutine() -> int:
    return 1


def agen() -> Any:
    async def generate() -> Any:
        yield 1

    return generate()


ONCE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "iterator": (lambda: iter([1, 2, 3]), sum),
    "generator": (lambda: (x for x in [1, 2, 3]), sum),
    "map": (lambda: map(int, "123"), sum),
    "zip": (lambda: zip([1], [2], strict=True), list),
    "enumerate": (lambda: enumerate("ab"), list),
    "reversed": (lambda: reversed([1, 2]), list),
    "file": (lambda: io.StringIO("one\ntwo\n"), lambda x: x.readline()),
    "bytes file": (lambda: io.BytesIO(b"abc"), lambda x: x.read(1)),
    "temporary file": (tempfile.TemporaryFile, lambda x: x.write(b"a")),
    "named file": (tempfile.NamedTemporaryFile, lambda x: x.write(b"a")),
    "socket": (socket.socket, lambda x: x.fileno() > 0),
    "lock": (threading.Lock, lambda x: x.acquire(timeout=0.05)),
    "reentrant lock": (threading.RLock, lambda x: x.acquire(timeout=0.05)),
    "condition": (threading.Condition, lambda x: x.acquire(timeout=0.05)),
    "semaphore": (threading.Semaphore, lambda x: x.acquire(timeout=0.05)),
    "event": (threading.Event, lambda x: x.set()),
    "queue": (lambda: filled(queue.Queue()), lambda x: x.get_nowait()),
    "simple queue": (lambda: filled(queue.SimpleQueue()), lambda x: x.get_nowait()),
    "dictionary's keys": (lambda: {1: 2}.keys(), list),
    "memory view": (lambda: memoryview(bytearray(b"abc")), lambda x: x[0]),
    "asynchronous generator": (agen, lambda x: 1),
    "random numbers": (lambda: random.Random(1), lambda x: x.random()),
    "cursor": (lambda: Cursor(), next),
    "something with a finalizer": (lambda: Finalized(), lambda x: 1),
}


def filled(made: Any) -> Any:
    made.put(1)
    made.put(2)
    return made


class Cursor:
    def __init__(self) -> None:
        self.place = 0

    def __next__(self) -> int:
        self.place += 1
        return self.place


class Finalized:
    def __del__(self) -> None:
        pass


PLACES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "in a list": lambda x: [x],
    "in a dictionary": lambda x: {"a": [x]},
    "in a tuple": lambda x: (1, (x,)),
    "in an object": lambda x: Engine(held=x),
    "in a record": lambda x: Record(x),
    "in a namespace": lambda x: SimpleNamespace(a=SimpleNamespace(b=x)),
    "in slots": lambda x: Slotted(x),
    "in a deque": lambda x: collections.deque([x]),
    "in a partial": lambda x: functools.partial(print, x),
}


@dataclasses.dataclass
class Record:
    held: Any


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


@pytest.mark.parametrize(("make", "use"), ONCE.values(), ids=ONCE)
def test_what_can_be_used_once_is_used_once(make: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    other, given = make(), make()
    expected = use(other)
    uses: list[int] = []

    def work(x: Any) -> Any:
        uses.append(1)
        return use(x)

    shadow = shadowed(work, work)
    found = shadow.call(given)
    for each in (other, given):
        getattr(each, "close", lambda: None)()
    assert found == expected or found is not None
    assert (len(uses), shadow.counts, shadow.said) == (1, (0, 0, 1), [])
    assert shadow.reasons


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("what", [lambda: iter([1]), threading.Lock, io.StringIO], ids=["iterator", "lock", "file"])
def test_it_is_recognised_wherever_it_is(place: Callable[[Any], Any], what: Callable[[], Any]) -> None:
    shadow = shadowed(lambda x, y=None: 1, lambda x, y=None: 1)
    shadow.call(place(what()))
    shadow.call(1, y=place(what()))
    assert shadow.counts == (0, 0, 2)


def test_it_is_recognised_in_the_object_of_a_method() -> None:
    def go(self: Engine) -> Any:
        return next(self.source)

    shadow, engine = method(go, go), Engine(source=iter([1, 2, 3]))
    assert ([shadow.call(engine) for _ in range(3)], shadow.counts) == ([1, 2, 3], (0, 0, 3))


@pytest.mark.parametrize(
    "answer",
    [lambda: iter([1]), lambda: (x for x in [1]), lambda: [map(int, "1")], lambda: {"a": io.StringIO()}],
    ids=["iterator", "generator", "map in a list", "file in a dictionary"],
)
def test_an_answer_that_has_yet_to_run_is_made_once(answer: Callable[[], Any]) -> None:
    made: list[Any] = []

    def work(x: int) -> Any:
        made.append(answer())
        return made[-1]

    shadow = shadowed(work, work)
    assert shadow.call(1) is made[0]
    assert (len(made), shadow.counts) == (1, (0, 0, 1))


def test_a_coroutine_that_is_returned_is_made_once_and_awaited() -> None:
    shadow = shadowed(lambda x: coroutine(), lambda x: coroutine())
    assert (asyncio.run(shadow.call(1)), shadow.counts) == (1, (0, 0, 1))


def test_the_right_patch_stays() -> None:
    shadow = shadowed(lambda xs: sum(xs), lambda xs: 0 + sum(xs))
    assert (shadow.call(iter([1, 2, 3])), shadow.reverted) == (6, [])
    assert shadow.patch.counts.reasons == {"an iterator": 1}


# States that both would write


def append(self: Engine, x: int) -> int:
    self.log.append(x)
    return x


def nested(self: Engine, x: int) -> int:
    self.inner.log["a"].append(x)
    self.inner.count += 1
    return x


def by_method(self: Engine, x: int) -> int:
    self.inner.note(x)
    return x


class Notes:
    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def note(self, x: int) -> None:
        self.seen.append(x)


STATES: dict[str, tuple[Callable[..., Any], Callable[[], Engine], Callable[[Engine], Any], Any]] = {
    "list": (append, lambda: Engine(log=[]), lambda e: e.log, [5]),
    "deque": (append, lambda: Engine(log=collections.deque(maxlen=3)), lambda e: list(e.log), [5]),
    "list of a kind of its own": (append, lambda: Engine(log=Log()), lambda e: (e.log, type(e.log)), None),
    "object in an object": (
        nested,
        lambda: Engine(inner=Engine(log={"a": []}, count=0)),
        lambda e: (e.inner.log, e.inner.count),
        ({"a": [5]}, 1),
    ),
    "object with slots": (by_method, lambda: Engine(inner=Notes()), lambda e: e.inner.seen, [5]),
}


class Log(list):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(("go", "make", "state", "expected"), STATES.values(), ids=STATES)
def test_what_a_method_writes_is_written_once(
    go: Callable[..., Any], make: Callable[[], Engine], state: Callable[[Engine], Any], expected: Any
) -> None:
    shadow, engine = method(go, go), make()
    assert shadow.call(engine, 5) == 5
    assert state(engine) == (expected if expected is not None else (Log([5]), Log))
    assert (shadow.counts, shadow.said) == ((1, 0, 0), [])


def test_attributes_of_an_argument_are_written_once() -> None:
    def work(engine: Engine) -> int:
        engine.count += 1
        return 1

    shadow, engine = shadowed(work, work), Engine(count=0)
    shadow.call(engine)
    assert (engine.count, shadow.counts) == (1, (1, 0, 0))


def test_an_object_that_holds_a_method_of_its_own_stays_apart() -> None:
    def go(self: Engine) -> int:
        return int(self.bound())

    def count(self: Engine) -> int:
        self.count += 1
        return int(self.count)

    engine = Engine(count=0)
    engine.__dict__["bound"] = count.__get__(engine)
    shadow = method(go, go)
    assert ([shadow.call(engine), shadow.call(engine)], engine.count, shadow.counts) == ([1, 2], 2, (2, 0, 0))


SEEN: list[int] = []
COUNT = 0


def in_a_global(x: int) -> int:
    SEEN.append(x)
    return x


def to_a_global(x: int) -> int:
    global COUNT
    COUNT += 1
    return COUNT


def in_a_default(x: int, seen: list[int] = []) -> int:  # noqa: B006
    seen.append(x)
    return len(seen)


def in_the_class(self: Engine, x: int) -> int:
    type(self).made += 1
    self.seen.append(x)
    return x


def test_a_global_is_written_once() -> None:
    SEEN.clear()
    shadow = shadowed(in_a_global, in_a_global)
    assert ([shadow.call(1), shadow.call(2)], SEEN) == ([1, 2], [1, 2])
    assert shadow.counts == (0, 0, 2)


def test_a_global_is_assigned_once() -> None:
    before = COUNT
    shadow = shadowed(to_a_global, to_a_global)
    assert [shadow.call(1), shadow.call(1)] == [before + 1, before + 2]
    assert (shadow.counts, shadow.reverted) == ((0, 0, 2), [])


def test_what_only_the_original_writes_to_a_global_is_taken_back_and_it_is_not_tried_again() -> None:
    SEEN.clear()
    shadow = shadowed(in_a_global, lambda x: x)
    assert ([shadow.call(1), shadow.call(2)], SEEN, shadow.reverted) == ([1, 2], [], [])
    assert shadow.counts == (0, 0, 2)


def test_a_default_is_written_once() -> None:
    assert in_a_default.__defaults__ is not None
    in_a_default.__defaults__[0].clear()
    shadow = shadowed(in_a_default, in_a_default)
    assert ([shadow.call(1), shadow.call(2)], shadow.reverted) == ([1, 2], [])


def test_a_class_is_written_once() -> None:
    Engine.seen, Engine.made = [], 0
    shadow = method(in_the_class, in_the_class)
    shadow.call(Engine(), 3)
    assert (Engine.seen, Engine.made, shadow.counts) == ([3], 1, (0, 0, 1))


def test_random_numbers_are_drawn_as_if_there_were_no_shadow() -> None:
    def work(x: int) -> float:
        return random.random()

    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    shadow = shadowed(work, work)
    assert ([shadow.call(1) for _ in range(3)], shadow.counts) == (expected, (3, 0, 0))


def test_an_original_that_does_not_agree_with_itself_accuses_no_patch() -> None:
    shadow = shadowed(lambda x: time.perf_counter_ns(), lambda x: time.perf_counter_ns())
    for _ in range(3):
        shadow.call(1)
    assert (shadow.counts, shadow.reverted) == ((0, 0, 3), [])
    assert shadow.reasons == ["the original does not agree with itself"]


# What is compared


def test_what_is_assigned_to_the_object_is_compared() -> None:
    def original(self: Engine, x: int) -> int:
        self.last = x
        return x

    def wrong(self: Engine, x: int) -> int:
        self.last = x + 1
        return x

    shadow, engine = method(original, wrong), Engine(last=None)
    assert (shadow.call(engine, 1), engine.last, len(shadow.reverted)) == (1, 1, 1)
    assert "the object.last: 2 instead of 1" in shadow.said[0]


@pytest.mark.parametrize(
    ("original", "wrong", "expected"),
    [
        (lambda e: e.__dict__.update(a=1), lambda e: None, {"a": 1}),
        (lambda e: None, lambda e: e.__dict__.update(a=1), {}),
        (lambda e: e.__dict__.pop("b", None), lambda e: None, {}),
        (lambda e: e.log.append(1), lambda e: e.log.append(2), {"log": [1]}),
        (lambda e: e.inner.__dict__.update(a=1), lambda e: e.inner.__dict__.update(a=2), None),
    ],
    ids=["not set", "set", "not deleted", "written in place", "of an inner object"],
)
@pytest.mark.parametrize("answer", [None, 1], ids=["answers nothing", "answers"])
def test_attributes_of_arguments_are_compared_and_put_right(
    original: Callable[[Any], Any], wrong: Callable[[Any], Any], expected: Any, answer: Any
) -> None:
    inner = Engine(a=0)
    attributes: dict[str, Any] = {"log": []} if expected and "log" in expected else {}
    attributes |= {"inner": inner} if expected is None else {}
    attributes |= {"b": 1} if expected == {} and "b" in original.__code__.co_consts else {}
    engine = Engine(**attributes)
    shadow = shadowed(
        lambda e: (original(e), answer)[1],
        lambda e: (wrong(e), answer)[1],
    )
    assert (shadow.call(engine), shadow.counts) == (answer, (1, 1, 0))
    assert engine.__dict__ == (expected if expected is not None else {"inner": inner})
    assert expected is not None or (engine.inner is inner and inner.a == 1)


def test_what_the_patch_keeps_for_itself_is_no_difference() -> None:
    def ours(self: Engine, x: int) -> int:
        self._plan = "mine"
        return x

    shadow, engine = method(lambda self, x: x, ours), Engine()
    shadow.call(engine, 1)
    assert (engine._plan, shadow.counts) == ("mine", (1, 0, 0))


CONTENT: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "list": ([3, 1], lambda x: x.sort(), lambda x: x.reverse() or x.append(9)),
    "dictionary": ({"a": 1}, lambda x: x.update(a=2), lambda x: x.update(b=2)),
    "ordered dictionary": (collections.OrderedDict(a=1), lambda x: x.update(a=2), lambda x: x.clear()),
    "default dictionary": (collections.defaultdict(list), lambda x: x["a"].append(1), lambda x: x["b"].append(1)),
    "counter": (collections.Counter("a"), lambda x: x.update("b"), lambda x: x.update("c")),
    "set": ({1}, lambda x: x.add(2), lambda x: x.add(3)),
    "deque": (collections.deque([1]), lambda x: x.append(2), lambda x: x.append(3)),
    "bytes": (bytearray(b"a"), lambda x: x.extend(b"b"), lambda x: x.extend(b"c")),
    "array": (array.array("i", [1, 2]), lambda x: x.__setitem__(0, 5), lambda x: x.__setitem__(0, 6)),
    "list in a dictionary": ({"a": [1]}, lambda x: x["a"].append(2), lambda x: x["a"].append(3)),
}


@pytest.mark.parametrize(("given", "original", "wrong"), CONTENT.values(), ids=CONTENT)
def test_what_is_written_wrong_into_an_argument_is_put_right(
    given: Any, original: Callable[[Any], Any], wrong: Callable[[Any], Any]
) -> None:
    import copy

    expected, kept = copy.deepcopy(given), copy.deepcopy(given)
    original(expected)
    shadow = shadowed(lambda x: (original(x), None)[1], lambda x: (wrong(x), None)[1])
    assert shadow.call(kept) is None
    assert (kept, type(kept), shadow.counts) == (expected, type(given), (1, 1, 0))


def test_a_wrong_answer_leaves_what_was_written_right_too() -> None:
    def original(xs: list[int]) -> int:
        xs.append(1)
        return 1

    def wrong(xs: list[int]) -> int:
        xs.clear()
        return 2

    xs = [0]
    assert (shadowed(original, wrong).call(xs), xs) == (1, [0, 1])


def test_a_replacement_that_fails_half_way_leaves_what_the_original_would() -> None:
    def wrong(xs: list[int]) -> int:
        xs.clear()
        raise ValueError("half way")

    xs = [1, 2]
    assert (shadowed(lambda xs: sum(xs), wrong).call(xs), xs) == (3, [1, 2])


def test_the_caller_gets_its_own_objects_back() -> None:
    xs = [1]
    engine = Engine(xs=xs)
    shadow = shadowed(lambda xs, engine: {"xs": xs, "all": (engine, [xs])}, lambda xs, engine: None)
    answer = shadow.call(xs, engine)
    assert answer["xs"] is xs
    assert answer["all"][0] is engine
    assert answer["all"][1][0] is xs
    assert engine.xs is xs


class Answer:
    def __init__(self, value: int) -> None:
        self.value = value


def test_objects_that_are_answered_are_compared_by_what_they_hold() -> None:
    shadow = shadowed(lambda x: Answer(1), lambda x: Answer(2))
    assert (shadow.call(1).value, shadow.counts) == (1, (1, 1, 0))


def test_what_leads_back_to_itself_is_compared_to_its_end() -> None:
    xs: list[Any] = [1]
    xs.append(xs)
    engine = Engine(me=None)
    engine.me = engine
    shadow = shadowed(lambda xs, engine: xs, lambda xs, engine: xs)
    assert shadow.call(xs, engine) is xs
    assert shadow.counts == (1, 0, 0)


def test_loggers_classes_and_functions_are_shared() -> None:
    engine = Engine(logger=logging.getLogger("x"), kind=Engine, work=in_a_global, module=random, sort=sorted)
    shadow = method(lambda self: 1, lambda self: 1)
    shadow.call(engine)
    assert shadow.counts == (1, 0, 0)


def test_a_configuration_is_shared_and_what_writes_into_it_is_not_compared() -> None:
    class HugeConfig:
        def __init__(self) -> None:
            self.lock, self.calls = threading.Lock(), 0

    def go(self: Engine, write: bool) -> int:
        self.config.calls += write
        return 1

    shadow, engine = method(go, go), Engine(config=HugeConfig())
    shadow.call(engine, False)
    assert shadow.counts == (1, 0, 0)
    shadow.call(engine, True)
    assert (engine.config.calls, shadow.counts) == (1, (1, 0, 1))


# A patch as a whole


def test_an_inner_function_is_not_judged_alone_within_an_outer_one_of_the_same_patch() -> None:
    shadows: dict[str, Shadowed] = {}

    def inner(x: int) -> int:
        return x + 1

    def inner_ours(x: int) -> int:
        return (x + 1) * 2

    def outer(x: int) -> int:
        return int(shadows["inner"].call(x)) * 2

    def outer_ours(x: int) -> int:
        return int(shadows["inner"].call(x))

    shadows |= shadow_of(inner=(inner, inner_ours), outer=(outer, outer_ours))
    assert [shadows["outer"].call(x) for x in range(5)] == [2, 4, 6, 8, 10]
    assert (shadows["outer"].counts, shadows["outer"].reverted) == ((5, 0, 0), [])


def test_nor_where_the_outer_one_is_not_compared_itself() -> None:
    inner = shadow_of(inner=(lambda x: x, lambda x: -x), outer=(lambda x: (yield x), lambda x: (yield -inner.call(x))))[
        "inner"
    ]
    (rewrite,) = [each for each in inner.patch.patch.variants[0].rewrites if each.target.endswith("outer")]
    assert next(rewrite.replacement()(3)) == 3
    assert (inner.counts, inner.reverted) == ((0, 0, 0), [])


# What goes wrong over and over


def test_errors_whose_text_varies_are_said_once_and_cost_little() -> None:
    calls: list[int] = []

    def original(x: int) -> int:
        calls.append(x)
        raise ValueError(f"no {x}")

    shadow = shadowed(original, lambda x: x)
    assert [shadow.call(x) for x in range(20_000)] == list(range(20_000))
    assert (len(shadow.said), len(shadow.reasons)) == (1, 1)
    assert len(calls) < 100


def test_differences_whose_text_varies_are_said_once() -> None:
    shadow = shadowed(lambda x: x, lambda x: -x)
    shadow.patch.quarantine_after = 0
    assert [shadow.call(x) for x in range(1, 2_000)] == list(range(1, 2_000))
    assert len(shadow.said) == 1


def test_of_calls_that_cannot_be_compared_few_are_tried() -> None:
    shadow = shadowed(lambda x: 1, lambda x: 1)
    for _ in range(5_000):
        shadow.call([iter([1])])
    assert (shadow.counts, shadow.said) == ((0, 0, 5_000), [])
    assert shadow.reasons == ["an iterator"]


def test_kinds_of_reasons_are_bounded() -> None:
    shadow = shadowed(lambda x: 1, lambda x: 1)
    for number in range(100):
        kind = type(f"Kind{number}", (object,), {"__del__": lambda self: None, "x": 1})
        shadow.call(kind())
    assert len(shadow.reasons) <= 17


@pytest.mark.parametrize("ending", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_original_that_would_end_the_process_ends_nothing(ending: type[BaseException]) -> None:
    def original(x: int) -> int:
        raise ending

    shadow = shadowed(original, lambda x: x)
    assert (shadow.call(3), shadow.patch.counts.original_failed) == (3, 1)


def test_more_objects_than_can_be_copied_are_not_compared() -> None:
    shadow = shadowed(lambda x: 1, lambda x: 1)
    shadow.call([[number] for number in range(30_000)])
    endless: list[Any] = []
    for _ in range(500):
        endless = [endless]
    shadow.call(endless)
    assert (shadow.counts, set(shadow.reasons)) == (
        (0, 0, 2),
        {"too many objects", "objects within objects without an end"},
    )


def test_what_is_copied_is_given_back_to_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from ascend_patches.shadow import run
    from ascend_patches.shadow.copies import Room

    room = Room(10)
    monkeypatch.setattr(run, "ROOM", room)
    shadow = shadowed(lambda x: 1, lambda x: 1)
    shadow.call([1])
    shadow.call(iter([1]))
    assert room.take(10)
