"""While a root is on its way: other threads that import its parts, and exceptions that no Exception covers."""

from __future__ import annotations

import pytest
from support import World

SHOW = "from ascend_patches import status\nprint(json.dumps(status()))\n"
ENGINE = "def greet(name, mark='!'):\n    return 'upstream ' + name + mark\n"

OTHER_THREAD = """
import threading, importlib
thread = threading.Thread(target=importlib.import_module, args=['vllm.engine'])
thread.start()
thread.join()
"""


def test_a_part_that_another_thread_imports_while_patches_are_loaded_is_patched(greeting: World) -> None:
    greeting.patches(OTHER_THREAD + "PATCHES = []\n")
    result = greeting.python(
        "import vllm, vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))\n" + SHOW, start=True
    )
    assert result.stdout.splitlines()[0] == '"patched you!"'
    assert (result.patch("greeting")["state"], result.stderr) == ("applied", "")


def test_the_part_of_a_reload_that_was_executed_before_it_failed_is_patched(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine, importlib\n"
        "open(vllm.engine.__file__, 'a').write('1 / 0\\n')\n"
        "try:\n    importlib.reload(vllm.engine)\nexcept ZeroDivisionError:\n    pass\n"
        "print(json.dumps(vllm.engine.greet('you')))\n" + SHOW,
        start=True,
    )
    assert result.stdout.splitlines()[0] == '"patched you!"'
    assert result.patch("greeting")["state"] == "applied"


TAKEN_OUT = """
import threading
taken, back = threading.Event(), threading.Event()
class Modules(dict):
    def pop(self, name, *default):
        module = dict.pop(self, name, *default)
        if name == 'vllm.two':
            taken.set()
            back.wait(20)
        return module
import importlib, vllm
sys.modules = Modules(sys.modules)
thread = threading.Thread(target=importlib.import_module, args=['vllm.two'])
thread.start()
taken.wait(20)
import vllm.one
back.set()
thread.join()
"""


def test_a_target_whose_module_python_has_taken_out_for_a_moment_is_there(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n", "two": "def g():\n    return 'upstream'\n"})
    ours = "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n"
    world.patch("pair", {"vllm.one:f": "f", "vllm.two:g": "g"}, ours)
    result = world.python(TAKEN_OUT + SHOW, start=True)
    assert (result.patch("pair")["state"], result.stderr) == ("applied", "")


def test_a_module_whose_import_was_refused_does_not_come_back(world: World) -> None:
    world.package("vllm", {"engine": ENGINE})
    world.patch("greeting", {"vllm.engine:greet": "'replacements:greet'"}, "")
    world.write("replacements.py", "1 / 0\n")
    result = world.python(
        "from ascend_patches.errors import StrictModeError\n"
        "import vllm\n"
        "for _ in range(2):\n    try:\n        import vllm.engine\n    except StrictModeError:\n        pass\n"
        "from ascend_patches.process.finder import finder\n"
        "print(json.dumps(['vllm.engine' in sys.modules, 'vllm.engine' in finder.executed]))",
        start=True,
        env={"ASCEND_PATCHES": "strict"},
    )
    assert result.json == [False, False]


RAISED = ["SystemExit(3)", "KeyboardInterrupt", "GeneratorExit", "type('Odd', (BaseException,), {})()"]
CALLED = "import vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))\n"


@pytest.mark.parametrize("error", RAISED)
def test_a_package_of_patches_that_raises_anything_is_said_and_survived(error: str, greeting: World) -> None:
    greeting.patches(f"raise {error}\n")
    result = greeting.python(CALLED, start=True)
    assert (result.json, len(result.complaints)) == ("patched you!", 1)
    assert "the patches of their-patches (entry point" in result.stderr


@pytest.mark.parametrize("error", RAISED)
def test_a_replacement_that_raises_anything_while_it_is_imported_fails_its_patch(error: str, world: World) -> None:
    world.package("vllm", {"engine": ENGINE})
    world.patch("greeting", {"vllm.engine:greet": "'replacements:greet'"}, "")
    world.write("replacements.py", f"raise {error}\n")
    result = world.python(CALLED + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '"upstream you!"'
    assert (result.patch("greeting")["state"], len(result.complaints)) == ("failed", 1)


@pytest.mark.parametrize("error", RAISED)
def test_a_configuration_that_raises_anything_fails_its_patch(error: str, greeting: World) -> None:
    greeting.patch(
        "greeting",
        {"vllm.engine:greet": "greet"},
        f"def configure(options):\n    raise {error}\ndef greet(name, mark='!'):\n    return 'ours'\n",
        more="configure=configure",
    )
    result = greeting.python(CALLED + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '"upstream you!"'
    assert (result.patch("greeting")["state"], len(result.complaints)) == ("failed", 1)


@pytest.mark.parametrize("error", RAISED)
def test_a_gate_that_raises_anything_fails_its_patch(error: str, greeting: World) -> None:
    greeting.patch(
        "other",
        {"vllm.engine:missing": "f"},
        "from ascend_patches.declaring.gates import Gate\n"
        f"class Asking(Gate):\n    def judge(self, where):\n        raise {error}\n"
        "def f():\n    return 'ours'\n",
        gate="Asking()",
    )
    result = greeting.python(CALLED + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '"patched you!"'
    assert (result.patch("other")["state"], len(result.complaints)) == ("failed", 1)


@pytest.mark.parametrize("error", RAISED)
def test_strict_mode_says_what_was_raised(error: str, greeting: World) -> None:
    greeting.patches(f"raise {error}\n")
    result = greeting.python(CALLED, start=True, env={"ASCEND_PATCHES": "strict"})
    assert result.returncode == 1
    assert "StrictModeError: strict mode: the patches of their-patches" in result.stderr


@pytest.mark.parametrize("handler", ["signal.default_int_handler", "handler"])
def test_a_signal_during_activation_reaches_the_process(handler: str, greeting: World) -> None:
    greeting.patches(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(1000): pass\nPATCHES = []\n"
    )
    result = greeting.python(
        "import signal\n"
        "def handler(number, frame):\n    raise SystemExit(7)\n"
        f"signal.signal(signal.SIGINT, {handler})\n"
        "try:\n    import vllm\nexcept BaseException as error:\n    print(json.dumps(type(error).__name__))",
        start=True,
    )
    assert result.json == ("SystemExit" if handler == "handler" else "KeyboardInterrupt")
    assert result.complaints == []
