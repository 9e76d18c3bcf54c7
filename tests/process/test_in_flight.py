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
