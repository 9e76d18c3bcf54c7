"""A patch is one transaction for calls in flight: none runs the new one of two functions with the old other."""

from __future__ import annotations

import pytest
from support import World

PAIR = """
import threading
entered, leave = threading.Event(), threading.Event()

def outer():
    entered.set()
    leave.wait(20)
    return ['upstream', inner()]

def inner():
    return 'upstream'
"""
OURS = """
def outer():
    import vllm.engine as engine
    engine.entered.set()
    engine.leave.wait(20)
    return ['ours', engine.inner()]

def inner():
    return 'ours'
"""
CALL = """
import threading, vllm.engine as engine
from ascend_patches import apply_patches, revert_patches, status
answers = []
thread = threading.Thread(target=lambda: answers.append(engine.outer()))
def state():
    return status()['patches'][0]['state']
"""


@pytest.fixture
def pair(world: World) -> World:
    """An outer function that waits before it calls an inner one, and a patch of both."""
    world.package("vllm", {"engine": PAIR})
    world.patch("pair", {"vllm.engine:outer": "outer", "vllm.engine:inner": "inner"}, OURS)
    return world


def test_a_patch_is_reverted_once_no_call_is_inside(pair: World) -> None:
    code = (
        "thread.start(); engine.entered.wait()\n"
        "threading.Timer(0.05, engine.leave.set).start()\n"
        "revert_patches(); thread.join()\n"
        "print(json.dumps([answers, state(), engine.inner()]))"
    )
    assert pair.python(CALL + code, start=True).json == [[["ours", "ours"]], "reverted", "upstream"]


def test_what_calls_do_not_leave_stays_and_says_so(pair: World) -> None:
    code = (
        "thread.start(); engine.entered.wait()\n"
        "from ascend_patches.starting.this_process import toolkit\ntoolkit.revert(wait=0.05)\n"
        "patch = status()['patches'][0]\nengine.leave.set(); thread.join()\n"
        "print(json.dumps([answers, patch['state'], patch['reason'], engine.inner()]))"
    )
    result = pair.python(CALL + code, start=True)
    answers, state, reason, inner = result.json
    assert (answers, state, inner) == ([["ours", "ours"]], "applied", "ours")
    assert reason.startswith("not reverted, because calls are inside it: thread Thread-1")
    assert "is inside vllm.engine:outer; revert it again" in reason
    assert len(result.complaints) == 1


def test_a_call_that_asks_from_inside_is_refused_at_once(pair: World) -> None:
    code = (
        "engine.leave.set()\nengine.entered.set = lambda: revert_patches()\n"
        "print(json.dumps([engine.outer(), state(), status()['patches'][0]['reason']]))"
    )
    answer, state, reason = pair.python(CALL + code, start=True).json
    assert (answer, state) == (["ours", "ours"], "applied")
    assert "this thread is inside vllm.engine:outer" in reason


def test_a_patch_is_applied_once_no_call_is_inside(pair: World) -> None:
    code = (
        "revert_patches()\nthread.start(); engine.entered.wait()\n"
        "threading.Timer(0.05, engine.leave.set).start()\n"
        "apply_patches(); thread.join()\n"
        "print(json.dumps([answers, state(), engine.inner()]))"
    )
    assert pair.python(CALL + code, start=True).json == [[["upstream", "upstream"]], "applied", "ours"]


def test_a_suspended_coroutine_is_inside(world: World) -> None:
    upstream = "async def outer(gate):\n    await gate\n    return ['upstream', inner()]\n"
    upstream += "def inner():\n    return 'upstream'\n"
    world.package("vllm", {"engine": upstream})
    ours = "async def outer(gate):\n    await gate\n    import vllm.engine\n    return ['ours', vllm.engine.inner()]\n"
    ours += "def inner():\n    return 'ours'\n"
    world.patch("pair", {"vllm.engine:outer": "outer", "vllm.engine:inner": "inner"}, ours)
    code = (
        "import asyncio, vllm.engine as engine\n"
        "from ascend_patches.starting.this_process import toolkit\n"
        "async def main():\n"
        "    gate = asyncio.get_running_loop().create_future()\n"
        "    task = asyncio.ensure_future(engine.outer(gate))\n"
        "    await asyncio.sleep(0)\n"
        "    toolkit.revert(wait=0)\n"
        "    gate.set_result(None)\n"
        "    answers = [await task, toolkit.patches['pair'].reason]\n"
        "    toolkit.revert(wait=0)\n"
        "    return [*answers, toolkit.patches['pair'].state]\n"
        "print(json.dumps(asyncio.run(main())))"
    )
    answer, reason, state = world.python(code, start=True).json
    assert (answer, state) == (["ours", "ours"], "reverted")
    assert "vllm.engine:outer is suspended" in reason


SUSPENDED = {
    "a generator": (
        "def outer():\n    yield 0\n    yield ['{0}', inner()]\n",
        "call = engine.outer(); next(call)",
        "next(call)",
        "call.close()",
    ),
    "a generator that has not begun": (
        "def outer():\n    yield ['{0}', inner()]\n",
        "call = engine.outer()",
        "next(call)",
        "call.close()",
    ),
    "a generator within another": (
        "def outer():\n    yield 0\n    yield ['{0}', inner()]\n",
        "call = (each for _ in [0] for each in engine.outer()); next(call)",
        "next(call)",
        "call.close()",
    ),
    "a context manager": (
        (
            "import contextlib\nlog = []\n"
            "@contextlib.contextmanager\ndef outer():\n    yield\n    log.append(['{0}', inner()])\n"
        ),
        "call = engine.outer(); call.__enter__()",
        "(call.__exit__(None, None, None), engine.log[0])[1]",
        "del call",
    ),
    "an asynchronous generator": (
        "async def outer():\n    yield 0\n    yield ['{0}', inner()]\n",
        "call = engine.outer(); run(call.__anext__())",
        "run(call.__anext__())",
        "run(call.aclose())",
    ),
}
RUN = """
import vllm.engine as engine
from ascend_patches.starting.this_process import toolkit
def run(awaited):
    try:
        awaited.send(None)
    except StopIteration as error:
        return error.value
    except StopAsyncIteration:
        pass
"""


@pytest.mark.parametrize(("outer", "begin", "end", "leave"), SUSPENDED.values(), ids=SUSPENDED)
def test_what_is_suspended_is_inside(outer: str, begin: str, end: str, leave: str, world: World) -> None:
    world.package("vllm", {"engine": outer.format("upstream") + "def inner():\n    return 'upstream'\n"})
    ours = outer.format("ours").replace("inner()", "engine().inner()").replace("log.", "engine().log.")
    ours = ours.replace("@contextlib.contextmanager\n", "")
    world.patch(
        "pair",
        {"vllm.engine:outer": "outer", "vllm.engine:inner": "inner"},
        f"{ours}\ndef inner():\n    return 'ours'\ndef engine():\n    import vllm.engine\n    return vllm.engine\n",
    )
    code = (
        f"{RUN}{begin}\ntoolkit.revert(wait=0)\nstate = toolkit.patches['pair'].state\nanswer = {end}\n{leave}\n"
        "toolkit.revert(wait=0)\nprint(json.dumps([answer, state, toolkit.patches['pair'].state]))"
    )
    assert world.python(code, start=True).json == [["ours", "ours"], "applied", "reverted"]


def test_a_greenlet_that_was_switched_out_is_inside(pair: World) -> None:
    # What greenlet shows of such a one: a frame that no thread's stack has.
    pair.write("greenlet.py", "class greenlet:\n    gr_frame = None\n")
    code = (
        "import greenlet\nfrom ascend_patches.starting.this_process import toolkit\n"
        "call = greenlet.greenlet()\n"
        "engine.leave.set()\nengine.entered.set = lambda: setattr(call, 'gr_frame', sys._getframe(1))\n"
        "engine.outer()\n"
        "toolkit.revert(wait=0)\nanswers = [state(), status()['patches'][0]['reason']]\n"
        "call.gr_frame = None\ntoolkit.revert(wait=0)\nprint(json.dumps([*answers, state()]))"
    )
    state, reason, then = pair.python(CALL + code, start=True).json
    assert (state, then) == ("applied", "reverted")
    assert "vllm.engine:outer is suspended in a greenlet" in reason


ASKED_FROM_WITHIN = """
import signal, time, vllm.engine as engine
import ascend_patches.process.live_patch as live_patch
from ascend_patches import apply_patches, revert_patches, status
inner = live_patch.put_in_place
def put_in_place(*args, **kwargs):
    done = inner(*args, **kwargs)
    live_patch.put_in_place = inner
    signal.raise_signal(signal.SIGUSR1)
    return done
signal.signal(signal.SIGUSR1, lambda *_: revert_patches())
revert_patches()
live_patch.put_in_place = put_in_place
apply_patches()
deadline = time.monotonic() + 20
while status()['patches'][0]['state'] != 'reverted' and time.monotonic() < deadline:
    time.sleep(0.005)
print(json.dumps([status()['patches'][0]['state'], engine.inner()]))
"""


def test_what_is_asked_in_the_middle_of_our_own_work_is_done_after_it(pair: World) -> None:
    assert pair.python(ASKED_FROM_WITHIN, start=True).json == ["reverted", "upstream"]


AT_ONCE = """
import threading, vllm.engine as engine
from ascend_patches import apply_patches, revert_patches
engine.leave.set()
sys.setswitchinterval(1e-5)
errors, mixed, stop = [], [], threading.Event()
def again(what):
    try:
        for _ in range(25):
            what()
    except BaseException as error:
        errors.append(repr(error))
def call():
    while not stop.is_set():
        answer = engine.outer()
        if answer[0] != answer[1]:
            mixed.append(answer)
asking = [threading.Thread(target=again, args=[what]) for what in (apply_patches, revert_patches) * 2]
calling = threading.Thread(target=call)
for thread in [calling, *asking]: thread.start()
for thread in asking: thread.join()
stop.set(); calling.join()
ends = [[what()['patches'][0]['state'], engine.outer()] for what in (apply_patches, revert_patches)]
print(json.dumps([errors, mixed, ends]))
"""


def test_threads_that_revert_and_apply_at_once_leave_a_whole_patch_or_none(pair: World) -> None:
    ends = [["applied", ["ours", "ours"]], ["reverted", ["upstream", "upstream"]]]
    assert pair.python(AT_ONCE, start=True).json == [[], [], ends]


FORKED = """
import os, time
from ascend_patches.starting.this_process import toolkit
thread.start(); engine.entered.wait()
reverting = threading.Thread(target=toolkit.revert); reverting.start()
while not toolkit.patches['pair'].busy: time.sleep(0.001)
reading, writing = os.pipe()
child = os.fork()
if not child:
    toolkit.revert(); engine.leave.set()
    os.write(writing, json.dumps([state(), engine.outer()]).encode())
    os._exit(0)
engine.leave.set(); thread.join(); reverting.join(); os.waitpid(child, 0)
print(json.dumps([answers, state(), json.loads(os.read(reading, 1000))]))
"""


def test_a_child_that_is_forked_while_a_revert_waits_can_revert_by_itself(pair: World) -> None:
    in_child = ["reverted", ["upstream", "upstream"]]
    assert pair.python(CALL + FORKED, start=True).json == [[["ours", "ours"]], "reverted", in_child]


def test_no_call_of_many_threads_sees_half_a_patch(world: World) -> None:
    world.package("vllm", {"engine": "def outer(x):\n    return [0, inner(x)]\ndef inner(x):\n    return 0\n"})
    ours = "def outer(x):\n    import vllm.engine\n    return [1, vllm.engine.inner(x)]\ndef inner(x):\n    return 1\n"
    world.patch("pair", {"vllm.engine:outer": "outer", "vllm.engine:inner": "inner"}, ours)
    code = (
        "import threading, vllm.engine as engine\n"
        "from ascend_patches import apply_patches, revert_patches\n"
        "sys.setswitchinterval(1e-5)\nmixed, stop = [], threading.Event()\n"
        "def work():\n"
        "    while not stop.is_set():\n"
        "        answer = engine.outer(1)\n"
        "        if answer[0] != answer[1]:\n            mixed.append(answer)\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "states = []\n"
        "for _ in range(20):\n"
        "    states.append(revert_patches()['patches'][0]['state'])\n"
        "    states.append(apply_patches()['patches'][0]['state'])\n"
        "stop.set()\n"
        "for thread in threads: thread.join()\n"
        "print(json.dumps([mixed, 'reverted' in states, states.count('applied') > 0]))"
    )
    assert world.python(code, start=True).json == [[], True, True]
