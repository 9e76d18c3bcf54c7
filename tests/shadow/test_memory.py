"""What a compared call leaves behind: nothing that waits for the collector, and a collector that works as before."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shadow.test_side_effects import Engine, Shadowed, method, shadowed

CYCLES = 50


class Part:
    """Belongs to something, and knows to what: a cycle, as layers that hold bound methods of themselves are."""

    def __init__(self) -> None:
        self.whole = self
        self.go = self.method
        self.rows: list[Any] = [Leaf()]

    def method(self) -> None: ...


class Leaf:
    """Stands for a tensor."""


@pytest.fixture(autouse=True)
def _collector_off() -> Iterator[None]:
    """Python's own collector never runs, so that what is gone has been freed by the toolkit."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


def agreed(part: Part) -> int:
    return len(part.rows)


def too_many(part: Part) -> int:
    return len(part.rows) + 1


def fails(part: Part) -> int:
    raise ValueError(len(part.rows))


def held_by_generator(part: Part) -> Any:
    return (each for each in part.rows)


@pytest.mark.parametrize(
    ("original", "ours", "counts"),
    [
        pytest.param(agreed, agreed, (1, 0, 0), id="the same answer"),
        pytest.param(agreed, too_many, (1, 1, 0), id="another answer"),
        pytest.param(fails, agreed, (0, 0, 0), id="the original fails"),
        pytest.param(fails, fails, (1, 0, 0), id="both fail"),
        pytest.param(agreed, fails, (1, 1, 0), id="the replacement fails"),
        pytest.param(held_by_generator, held_by_generator, (0, 0, 1), id="cannot be compared"),
    ],
)
def test_no_copy_outlives_the_call(
    original: Callable[..., Any], ours: Callable[..., Any], counts: tuple[int, int, int]
) -> None:
    shadow, part = shadowed(original, ours), Part()
    with contextlib.suppress(ValueError):
        shadow.call(part)
    assert shadow.counts == counts
    assert (alive(Part), alive(Leaf)) == (1, 1)


def test_an_error_that_the_replacement_keeps_holds_no_copy() -> None:
    def keeps(part: Any) -> int:
        try:
            raise ValueError
        except ValueError as error:
            part.last = error
        return 1

    shadow, part = shadowed(keeps, keeps), Part()
    shadow.call(part)
    assert shadow.counts == (1, 0, 0)
    assert (alive(Part), alive(Leaf)) == (1, 1)


def test_no_copy_of_the_object_of_a_method_outlives_the_call() -> None:
    def go(engine: Any) -> int:
        return len(engine.part.rows)

    shadow = method(go, go)
    engine = Engine(part=Part())
    engine.itself = engine
    shadow.call(engine)
    assert shadow.counts == (1, 0, 0)
    assert (alive(Engine), alive(Part), alive(Leaf)) == (1, 1, 1)


def test_no_copy_outlives_a_call_that_has_no_copy() -> None:
    shadow, part = shadowed(agreed, agreed), Part()
    part.rows = [Leaf(), iter(())]
    shadow.call(part)
    assert shadow.counts == (0, 0, 1)
    assert (alive(Part), alive(Leaf)) == (1, 1)


def test_an_error_that_a_caller_keeps_holds_no_copy() -> None:
    shadow, part = shadowed(fails, fails), Part()
    with pytest.raises(ValueError, match="1") as kept:
        shadow.call(part)
    assert shadow.counts == (1, 0, 0)
    assert (alive(Part), alive(Leaf)) == (1, 1)
    names = [entry.name for entry in kept.traceback]
    assert names[-1] == "fails", names


def test_an_error_is_no_cycle() -> None:
    class OwnError(Exception):
        pass

    def own(part: Part) -> None:
        raise OwnError

    shadow, part = shadowed(own, own), Part()
    try:
        shadow.call(part)
    except OwnError as error:
        kept = weakref.ref(error)
    assert kept() is None


def test_what_the_original_passed_on_lives_on() -> None:
    passed: list[Part] = []

    def original(part: Part) -> int:
        passed.append(part)
        return 1

    shadow, part = shadowed(original, lambda part: 1), Part()
    shadow.call(part)
    assert passed[0].whole is passed[0] is not part
    assert type(passed[0].rows[0]) is Leaf


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled: bool) -> None:
    shadow = shadowed(agreed, agreed)
    if enabled:
        gc.enable()
    shadow.call(Part())
    assert gc.isenabled() is enabled


def test_the_collector_works_while_a_call_that_is_not_compared_runs() -> None:
    def long(numbers: Any) -> bool:
        return gc.isenabled()

    gc.enable()
    assert shadowed(long, long).call(iter(())) is True


def test_the_collector_is_as_it_was_after_calls_of_many_threads() -> None:
    both = threading.Barrier(2, timeout=60)

    def original(part: Part) -> int:
        return len(part.rows)

    def ours(part: Part) -> int:
        both.wait()
        return len(part.rows)

    shadow = shadowed(original, ours)
    gc.enable()
    _in_two_threads(lambda: [shadow.call(Part()) for _ in range(CYCLES)])
    assert gc.isenabled()
    assert shadow.counts == (2 * CYCLES, 0, 0)


def test_calls_of_threads_that_overlap_without_an_end_leave_little() -> None:
    turn, most = threading.Barrier(2, timeout=60), [0]

    def ours(part: Part) -> int:
        turn.wait()  # each begins its next call while the other one is still in its own
        most[0] = max(most[0], alive(Leaf))
        return len(part.rows)

    shadow = shadowed(agreed, ours)
    _in_two_threads(lambda: [shadow.call(Part()) for _ in range(CYCLES)])
    assert most[0] < 2 * CYCLES


def test_a_child_that_was_forked_within_another_thread_s_call_has_its_collector() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def ours(part: Part) -> int:
        inside.set()
        go_on.wait(60)
        return len(part.rows)

    shadow = shadowed(agreed, ours)
    gc.enable()
    thread = threading.Thread(target=shadow.call, args=(Part(),))
    thread.start()
    assert inside.wait(60)
    pid = os.fork()
    if not pid:
        os._exit(0 if gc.isenabled() else 1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gc.isenabled()


def _in_two_threads(work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_shadowed_call_in_a_shadowed_call_is_freed_with_the_outer_one() -> None:
    inner: list[Shadowed] = []

    def ours(part: Part) -> int:
        inner[0].call(part)
        return len(part.rows)

    inner.append(shadowed(agreed, agreed))
    shadow, part = shadowed(agreed, ours), Part()
    shadow.call(part)
    assert inner[0].counts == shadow.counts == (1, 0, 0)
    assert (alive(Part), alive(Leaf)) == (1, 1)
