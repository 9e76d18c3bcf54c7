"""The pitfalls of docs/pitfalls.md, each by its number, in real processes."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from support import REPOSITORY, SITECUSTOMIZE, START, Environment, World, run_python

from ascend_patches.starting import start_hook

SHOW = "from ascend_patches import status\nprint(json.dumps(status()))\n"
STARTED = (
    "import json, sys\n"
    "waiting = [finder for finder in sys.meta_path if hasattr(finder, 'run_next_sitecustomize')]\n"
    "print(json.dumps(len(waiting)))\n"
)
"""How many finders wait for vLLM in a process."""


# 1: only the first sitecustomize runs


def test_1_a_sitecustomize_behind_the_bundled_one_runs_as_well(greeting: World) -> None:
    greeting.write("sitecustomize.py", "import builtins\nbuiltins.theirs_ran = __file__\n")
    result = greeting.python(
        "import sitecustomize, vllm.engine\n"
        "print(json.dumps([theirs_ran, sitecustomize.__file__, vllm.engine.greet('you')]))",
        path=[SITECUSTOMIZE],
    )
    theirs = str(greeting.folder / "sitecustomize.py")
    assert result.json == [theirs, theirs, "patched you!"]


# 2: raising at interpreter start does not stop the process


def test_2_strict_mode_does_not_raise_at_interpreter_start_but_out_of_the_import_of_vllm(greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    env = {"ASCEND_PATCHES": "strict"}
    without = greeting.python("print(json.dumps('runs'))", path=[SITECUSTOMIZE], env=env)
    assert (without.json, without.stderr) == ("runs", "")
    with_vllm = greeting.python("import vllm\nprint('unreachable')", path=[SITECUSTOMIZE], env=env)
    assert (with_vllm.returncode, with_vllm.stdout) == (1, "")
    assert "StrictModeError: strict mode: greeting: upstream changed" in with_vllm.stderr
    assert "strict mode: greeting: upstream changed" in with_vllm.stderr.splitlines()[-1]


# 3: flags


@pytest.mark.parametrize(
    ("flags", "by_pth", "by_path"),
    [([], True, True), (["-I"], True, False), (["-E"], True, False), (["-S"], False, False)],
    ids=lambda value: "".join(value) if isinstance(value, list) else "",
)
def test_3_interpreter_flags_switch_the_path_off_and_only_minus_s_the_pth_file(
    flags: list[str], by_pth: bool, by_path: bool, environment: Environment
) -> None:
    assert environment.run([*flags, "-c", STARTED], path=[SITECUSTOMIZE]).json == by_path
    environment.install_hook()
    assert environment.run([*flags, "-c", STARTED]).json == by_pth


# 4: .pth lines run twice in virtual environments


def test_4_a_pth_file_that_runs_twice_starts_the_toolkit_once(environment: Environment) -> None:
    environment.install_hook("acme")
    twice = f"import site\nsite.addsitedir({str(environment.site_packages)!r})\n"
    assert environment.run(twice + STARTED).json == 1


# 5: printing at start breaks tools that read a child's stdout


def test_5_stdout_stays_clean_whatever_is_wrong(greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    greeting.patches("1 / 0\n", module="broken_patches")
    for mode in ("on", "off", "strict", "nonsense"):
        result = greeting.python("import vllm.engine", path=[SITECUSTOMIZE], env={"ASCEND_PATCHES": mode})
        assert result.stdout == "", mode


# 6: children


def test_6_children_that_do_not_import_vllm_are_not_disturbed(greeting: World) -> None:
    result = greeting.python(
        "import subprocess\n"
        "done = subprocess.run([sys.executable, '-c', 'import sys; print(len(sys.argv)); sys.exit(3)'],\n"
        "                      capture_output=True, text=True)\n"
        "print(json.dumps([done.returncode, done.stdout, done.stderr]))",
        path=[SITECUSTOMIZE],
    )
    assert result.json == [3, "1\n", ""]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_6_workers_of_every_start_method_are_patched(method: str, greeting: World) -> None:
    main = greeting.write(
        "main.py",
        f"""
        import json
        import multiprocessing

        def work(name):
            import vllm.engine
            from ascend_patches import status
            return [vllm.engine.greet(name), status()['pid'], status()['activated_by']]

        if __name__ == '__main__':
            import vllm
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                answer, pid, how = pool.apply(work, ('you',))
            print(json.dumps([answer, pid != __import__('os').getpid(), how]))
        """,
    )
    assert greeting.python([main], path=[SITECUSTOMIZE]).json == ["patched you!", True, "sitecustomize"]


def test_6_another_interpreter_without_the_toolkit_runs_and_says_once_that_nothing_is_patched(
    greeting: World, tmp_path: Path
) -> None:
    bare = Environment(tmp_path / "bare", with_toolkit=False)
    assert bare.run("print('runs')", path=[SITECUSTOMIZE]).stdout == "runs\n"
    result = bare.run(
        "import vllm.engine, vllm\nprint(vllm.engine.greet('you'))", path=[SITECUSTOMIZE, greeting.folder]
    )
    assert result.stdout == "upstream you!\n"
    assert result.stderr == (
        "ascend_patches: no patch is on, the toolkit cannot be imported: No module named 'ascend_patches'\n"
    )


def test_6_the_file_that_any_python_may_meet_has_nothing_in_it_that_an_old_one_cannot_read() -> None:
    source = (SITECUSTOMIZE / "sitecustomize.py").read_text()
    tree = ast.parse(source, feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Nonlocal, ast.arg, ast.Raise)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            assert node.annotation is None, f"line {node.lineno}: Python 2 has no annotations"
        elif isinstance(node, ast.Raise):
            assert node.cause is None, f"line {node.lineno}: Python 2 has no raise ... from"
        else:
            assert not isinstance(node, newer), f"line {getattr(node, 'lineno', 0)}: not in Python 2"


# 7: a hook that raises, and an import that is retried


def test_7_an_import_that_is_retried_after_an_exception_is_patched(greeting: World) -> None:
    engine = (greeting.folder / "vllm" / "engine.py").read_text()
    greeting.write(
        "vllm/engine.py", engine + "\nimport sys\nif sys.argv.pop() == 'broken':\n    raise OSError('disk')\n"
    )
    result = greeting.python(
        "sys.argv = ['sound', 'broken']\n"
        "try:\n"
        "    import vllm.engine\n"
        "except OSError:\n"
        "    pass\n"
        "import vllm.engine\n"
        "print(json.dumps(vllm.engine.greet('you')))",
        start=True,
    )
    assert result.json == "patched you!"


def test_7_a_reloaded_module_is_patched_again_and_can_be_reverted(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine, importlib\n"
        "answers = []\n"
        "for _ in range(2):\n"
        "    importlib.reload(vllm.engine)\n"
        "    answers.append(vllm.engine.greet('you'))\n"
        "from ascend_patches import revert_patches\n"
        "state = revert_patches()['patches'][0]['state']\n"
        "print(json.dumps([*answers, state, vllm.engine.greet('you')]))",
        start=True,
    )
    assert result.json == ["patched you!", "patched you!", "reverted", "upstream you!"]


def test_7_a_failure_of_ours_does_not_fail_the_import(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"})
    world.patch(
        "double",
        {"vllm.engine:double": "double"},
        "def double(x):\n    return 'ours'\n\ndef configure(options):\n    raise SystemError('unexpected')\n",
        more="configure=configure",
    )
    result = world.python("import vllm.engine\nprint(json.dumps(vllm.engine.double(2)))", start=True)
    assert result.json == 4
    assert result.stderr == "ascend_patches: double failed and is not applied: SystemError: unexpected\n"


# 8: deadlock


def test_8_finding_a_watched_module_does_not_re_enter_the_import_system() -> None:
    tree = ast.parse((REPOSITORY / "ascend_patches" / "process" / "finder.py").read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not [name for name in called if "importlib" in name or "__import__" in name]


THREADS = """
import threading
errors = []

def attempt(work):
    try:
        work()
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=attempt, args=(work,), daemon=True) for work in WORK]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
alive = [thread.is_alive() for thread in threads]
"""


def test_8_threads_that_import_apply_and_meet_in_a_replacements_module_do_not_wait_for_each_other_for_ever(
    world: World,
) -> None:
    slow = "import threading\nimport rendezvous\nrendezvous.meet()\n"
    world.package(
        "vllm",
        {"one": "def f():\n    return 'upstream'\n", "two": slow + "def g():\n    return 'upstream'\n"},
    )
    # Both threads are inside their imports before either goes on; whoever comes alone goes on after a moment.
    world.write(
        "rendezvous.py",
        """
        import threading
        barrier = threading.Barrier(2)

        def meet():
            try:
                barrier.wait(1)
            except threading.BrokenBarrierError:
                pass
        """,
    )
    world.write("slow.py", "import rendezvous\nrendezvous.meet()\nimport vllm.two\n")
    world.write("replacements.py", "import slow\n\ndef f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n")
    world.patch("one", {"vllm.one:f": "'replacements:f'"}, "")
    world.patch("two", {"vllm.two:g": "'replacements:g'"}, "")
    result = world.python(
        "import importlib, vllm\n"
        "from ascend_patches import apply_patches, status\n"
        "WORK = [\n"
        "    lambda: importlib.import_module('vllm.one'),\n"
        "    lambda: importlib.import_module('vllm.two'),\n"
        "    apply_patches,\n"
        "]\n" + THREADS + "import vllm.one, vllm.two\n"
        "print(json.dumps([alive, errors, apply_patches()['patches'], vllm.one.f(), vllm.two.g()]))",
        start=True,
    )
    alive, errors, patches, *answers = result.json
    assert (alive, errors) == ([False] * 3, [])
    assert [patch["state"] for patch in patches] == ["applied", "applied"], [patch["reason"] for patch in patches]
    assert answers == ["ours", "ours"]


def test_8_a_replacements_module_that_itself_imports_another_target_of_it_finishes_first(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n", "two": "def g():\n    return 'upstream'\n"})
    world.write("replacements.py", "import vllm.two\n\ndef f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n")
    world.patch("one", {"vllm.one:f": "'replacements:f'"}, "")
    world.patch("two", {"vllm.two:g": "'replacements:g'"}, "")
    for first in ("vllm.one", "vllm.two", "vllm, replacements"):
        result = world.python(
            f"import {first}\nimport vllm.one, vllm.two\n"
            "from ascend_patches import status\n"
            "print(json.dumps([[p['state'] for p in status()['patches']], vllm.one.f(), vllm.two.g()]))",
            start=True,
        )
        assert result.json == [["applied", "applied"], "ours", "ours"], first


def test_8_a_replacements_module_that_fails_while_another_target_waits_for_it_fails_both(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n", "two": "def g():\n    return 'upstream'\n"})
    world.write("replacements.py", "import vllm.two\nraise LookupError('late')\n")
    world.patch("one", {"vllm.one:f": "'replacements:f'"}, "")
    world.patch("two", {"vllm.two:g": "'replacements:g'"}, "")
    result = world.python("import vllm.one, vllm.two\n" + SHOW, start=True)
    assert [result.patch(name)["state"] for name in ("one", "two")] == ["failed", "failed"]
    assert len(result.complaints) == 2


# 9: stale `from x import f`


def test_9_names_taken_before_the_patch_are_rebound_without_waking_lazy_modules(greeting: World) -> None:
    greeting.write("taker.py", "from vllm.engine import greet\nfrom vllm.engine import greet as hello\n")
    greeting.write("lazy.py", "def __getattr__(name):\n    raise SystemExit('woken by ' + name)\n")
    result = greeting.python(
        "import lazy, taker\n"
        "from ascend_patches import apply_patches, revert_patches\n"
        "apply_patches()\n"
        "answers = [taker.greet('you'), taker.hello('you')]\n"
        "revert_patches()\n"
        "print(json.dumps([*answers, taker.greet('you'), taker.hello('you')]))"
    )
    assert result.json == ["patched you!", "patched you!", "upstream you!", "upstream you!"]


# 10: version gates


@pytest.mark.parametrize("version", ["0.15.0rc1", "0.15.0.post1", "0.15.0.dev3+g1234", "0.15.0+empty", "v0.15.0"])
def test_10_builds_candidates_snapshots_and_uploads_of_a_release_are_that_release(version: str, world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"}, version=version)
    world.patch(
        "double",
        {"vllm.engine:double": "double"},
        "def double(x):\n    return 'ours'\n",
        gate="vllm_version_is('0.15.0')",
    )
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "ours"
    assert result.json["versions"]["vllm"]["version"] == version


# 11: half a patch


@pytest.fixture
def two_targets(world: World) -> World:
    world.package("vllm", {"engine": "def f():\n    return 'upstream'\n\ndef g():\n    return 'upstream'\n"})
    world.patch(
        "pair",
        {"vllm.engine:f": "f", "vllm.engine:g": "g"},
        "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n",
    )
    return world


def test_11_an_exception_between_two_rewrites_leaves_none_of_them_and_no_flag(two_targets: World) -> None:
    result = two_targets.python(
        "from functools import partial\n"
        "from ascend_patches import apply_patches\nfrom ascend_patches.replacing import one_step\n"
        "setting = one_step.setting\n"
        "def fail_at_g(owner, name, value):\n"
        "    fail = partial(exec, 'raise MemoryError(\"at g\")')\n"
        "    return fail if (name, value.__module__) == ('g', 'vllm.engine') else setting(owner, name, value)\n"
        "one_step.setting = fail_at_g\n"
        "import vllm.engine\n"
        "from vllm.engine import f\n"
        "patch = apply_patches()['patches'][0]\n"
        "print(json.dumps([patch['state'], patch['reason'], f(), vllm.engine.f(), vllm.engine.g()]))\n" + SHOW,
        start=True,
    )
    first = result.stdout.splitlines()[0]
    assert first == '["failed", "MemoryError: at g", "upstream", "upstream", "upstream"]'
    assert result.json["identity"] == "none"


# 12: "applied" while nothing changed


def test_12_a_site_that_does_not_read_back_is_a_failure(greeting: World) -> None:
    result = greeting.python(
        "from functools import partial\nfrom ascend_patches.replacing import one_step\n"
        "one_step.item = one_step.setting = lambda owner, name, value: partial(int)\n"
        "import vllm.engine\n" + SHOW,
        start=True,
    )
    patch = result.patch("greeting")
    assert patch["state"] == "failed"
    assert patch["reason"] == "vllm.engine:greet: was set, but reads back as something else"


def test_12_a_report_reads_the_sites_back_and_tells_who_has_covered_them(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\ndef theirs(name):\n    return 'theirs'\nvllm.engine.greet = theirs\n" + SHOW, start=True
    )
    (target,) = result.patch("greeting")["targets"]
    assert target["reason"] == "replaced, and now belongs to __main__ (<string>:4)"


# 13: two owners


WRAP = (
    "import functools, vllm.engine\n"
    "under = vllm.engine.greet\n"
    "@functools.wraps(under)\n"
    "def theirs(*args, **kwargs):\n"
    "    return 'theirs(' + under(*args, **kwargs) + ')'\n"
    "vllm.engine.greet = theirs\n"
)


def test_13_what_somebody_else_has_put_on_top_is_neither_undone_nor_hidden(greeting: World) -> None:
    result = greeting.python(
        WRAP + "from ascend_patches import revert_patches\n"
        "steps = []\n"
        "for on_top in (theirs, under):\n"
        "    vllm.engine.greet = on_top\n"
        "    patch = revert_patches()['patches'][0]\n"
        "    steps.append([patch['state'], patch['reason'], vllm.engine.greet('you')])\n"
        "print(json.dumps(steps))",
        start=True,
    )
    assert result.json[0] == [
        "applied",
        "not reverted, because something was put on top of it: vllm.engine:greet now belongs to __main__ (<string>:5)",
        "theirs(patched you!)",
    ]
    state, reason, answer = result.json[1]
    assert (state, answer) == ("reverted", "upstream you!")
    assert reason.startswith("undone on request; vllm.engine:greet is still held by a decorated function")


def test_13_what_somebody_else_had_put_there_before_is_left_alone_and_named(greeting: World) -> None:
    result = greeting.python(
        WRAP + "from ascend_patches import apply_patches\n"
        "patch = apply_patches()['patches'][0]\n"
        "print(json.dumps([patch['state'], patch['reason'], vllm.engine.greet is theirs, vllm.engine.greet('you')]))"
    )
    state, reason, *after = result.json
    assert (state, after) == ("skipped", [True, "theirs(upstream you!)"])
    assert "vllm.engine:greet is wrapped by __main__ (<string>:4), whose work a replacement would undo" in reason


# 14: pickling


@pytest.mark.parametrize("around", [False, True], ids=["replaced", "advised"])
def test_14_patched_functions_and_methods_are_targets_of_spawned_processes(around: bool, world: World) -> None:
    world.package(
        "vllm",
        {
            "engine": """
            def report(queue):
                queue.put('upstream')

            class Worker:
                def run(self, queue):
                    queue.put('upstream')
            """
        },
    )
    code = (
        "def report(wrapped, instance, args, kwargs):\n    args[0].put('ours')\n\nrun = report\n"
        if around
        else "def report(queue):\n    queue.put('ours')\n\ndef run(self, queue):\n    queue.put('ours')\n"
    )
    world.patch("report", {"vllm.engine:report": "report", "vllm.engine:Worker.run": "run"}, code, around=around)
    main = world.write(
        "main.py",
        """
        import json
        import multiprocessing

        if __name__ == '__main__':
            import vllm.engine
            spawn = multiprocessing.get_context('spawn')
            queue = spawn.SimpleQueue()
            for target in (vllm.engine.report, vllm.engine.Worker().run):
                process = spawn.Process(target=target, args=(queue,))
                process.start()
                process.join()
            print(json.dumps([queue.get(), queue.get()]))
        """,
    )
    assert world.python([main], path=[SITECUSTOMIZE]).json == ["ours", "ours"]


# 15: compile caches


def test_15_the_identity_of_the_patch_set_changes_with_all_that_changes_compiled_code(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n\ndef half(x):\n    return x / 2\n"})
    declared = "options={'factor': Option(5, 'how much')}"
    world.patch("double", {"vllm.engine:double": "double"}, "def double(x):\n    return 1\n", more=declared)
    world.patch("half", {"vllm.engine:half": "half"}, "def half(wrapped, *rest):\n    return 1\n", around=True)

    def identity(**env: str) -> str:
        return str(world.python("import vllm.engine\n" + SHOW, start=True, env=env).json["identity"])

    first = identity()
    seen = [
        first,
        identity(ASCEND_PATCHES_DISABLE="half"),
        identity(ASCEND_PATCHES_DISABLE="double"),
        identity(ASCEND_PATCHES_CONFIG=world.settings("[patches.double]\nfactor = 7\n")),
        identity(ASCEND_PATCHES="off"),
    ]
    again = identity()
    world.patch("double", {"vllm.engine:double": "double"}, "def double(x):\n    return 2\n", more=declared)
    seen.append(identity())
    world.patch("half", {"vllm.engine:half": "half"}, "def half(wrapped, *rest):\n    return 2\n", around=True)
    seen.append(identity())
    assert again == first
    assert len(set(seen)) == len(seen)
    assert seen[4] == "none"


# 16: exceptions under the toolkit


def test_16_an_exception_shows_the_users_frames_and_the_replacements_and_none_of_ours(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine, traceback\n"
        "def serve():\n"
        "    vllm.engine.greet(5)\n"
        "try:\n"
        "    serve()\n"
        "except TypeError as error:\n"
        "    frames = traceback.extract_tb(error.__traceback__)\n"
        "    print(json.dumps([[frame.name, frame.filename] for frame in frames]))",
        start=True,
    )
    replacement = str(greeting.folder / "greeting_module.py")
    assert result.json == [["<module>", "<string>"], ["serve", "<string>"], ["greet", replacement]]


def test_16_a_patched_function_keeps_its_metadata_and_is_no_wrapper(greeting: World) -> None:
    code = (
        "import vllm.engine, inspect, pickle\n"
        "f = vllm.engine.greet\n"
        "print(json.dumps([f.__name__, f.__qualname__, f.__module__, f.__doc__, str(inspect.signature(f)),\n"
        "    type(f).__name__, hasattr(f, '__wrapped__'), f.__closure__, pickle.loads(pickle.dumps(f)) is f]))"
    )
    assert greeting.python(code, start=True).json == greeting.python(code).json


# 17: threads, fork, reload, del sys.modules


def test_17_two_threads_that_import_two_targets_at_once_leave_both_patched(world: World) -> None:
    wait = "import sys\nsys.barrier.wait(20)\n"
    world.package(
        "vllm",
        {
            "one": wait + "def f():\n    return 'upstream'\n",
            "two": wait + "def g():\n    return 'upstream'\n",
        },
    )
    world.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.two:g": "g"},
        "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n",
    )
    result = world.python(
        "import importlib, threading, vllm\n"
        "sys.barrier = threading.Barrier(2)\n"
        "WORK = [lambda: importlib.import_module('vllm.one'), lambda: importlib.import_module('vllm.two')]\n"
        + THREADS
        + "import vllm.one, vllm.two\n"
        "from ascend_patches import status\n"
        "patch = status()['patches'][0]\n"
        "print(json.dumps([alive, errors, patch['state'], patch['reason'], vllm.one.f(), vllm.two.g()]))",
        start=True,
    )
    alive, errors, state, reason, *answers = result.json
    assert (alive, errors) == ([False, False], [])
    assert (state, answers) == ("applied", ["ours", "ours"]), reason


def test_17_a_fork_in_the_middle_of_applying_gives_a_child_that_can_go_on(greeting: World) -> None:
    greeting.patch(
        "greeting",
        {"vllm.engine:greet": "greet"},
        """
        import sys
        def greet(name, mark='!'):
            return 'patched ' + name + mark

        def configure(options):
            sys.applying.set()
            sys.forked.wait(0.3)  # the fork waits for the end of this, so nothing can tell us that it happened
        """,
        more="configure=configure",
    )
    result = greeting.python(
        "import os, threading, vllm\n"
        "sys.applying, sys.forked = threading.Event(), threading.Event()\n"
        "def work():\n"
        "    import vllm.engine\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "sys.applying.wait(20)\n"
        "reading, writing = os.pipe()\n"
        "child = os.fork()\n"
        "sys.forked.set()\n"
        "from ascend_patches import apply_patches, status\n"
        "if child == 0:\n"
        "    data = apply_patches()\n"
        "    os.write(writing, json.dumps([data['pid'] == os.getpid(), data['patches'][0]['state']]).encode())\n"
        "    os._exit(0)\n"
        "thread.join()\n"
        "os.waitpid(child, 0)\n"
        "print(json.dumps([json.loads(os.read(reading, 1000)), status()['patches'][0]['state']]))",
        start=True,
    )
    assert result.json == [[True, "applied"], "applied"]


def test_17_a_module_that_is_deleted_and_imported_again_is_patched_and_both_are_reverted(world: World) -> None:
    world.package("vllm", {"engine": "class Model:\n    def run(self):\n        return 'upstream'\n"})
    world.patch("run", {"vllm.engine:Model.run": "run"}, "def run(self):\n    return 'ours'\n")
    result = world.python(
        "import vllm.engine\n"
        "old = vllm.engine.Model()\n"
        "del sys.modules['vllm.engine']\n"
        "import vllm.engine\n"
        "new = vllm.engine.Model()\n"
        "answers = [old.run(), new.run()]\n"
        "from ascend_patches import revert_patches\n"
        "revert_patches()\n"
        "print(json.dumps([*answers, old.run(), new.run()]))",
        start=True,
    )
    assert result.json == ["ours", "ours", "upstream", "upstream"]


# 18: settings as an attack surface


def test_18_settings_choose_among_known_patches_and_never_name_code(greeting: World) -> None:
    settings = greeting.settings("[patches.greeting]\nreplace = 'os:system'\n\n[patches.'os:system']\nenabled = true\n")
    result = greeting.python("import vllm.engine\n" + SHOW, start=True, env={"ASCEND_PATCHES_CONFIG": settings})
    assert result.patch("greeting")["state"] == "skipped"
    assert "unknown key 'replace'" in result.stderr
    assert "there is no patch 'os:system'" in result.stderr


def test_18_files_that_others_can_write_are_refused_when_running_as_root(greeting: World) -> None:
    settings = greeting.settings("mode = 'on'\n")
    os.chmod(settings, 0o666)
    result = greeting.python(
        "import os\nos.geteuid = lambda: 0\nimport vllm.engine\n" + SHOW,
        start=True,
        env={"ASCEND_PATCHES_CONFIG": settings},
    )
    assert result.patch("greeting")["state"] == "skipped"
    assert "this process is root and others can write" in result.complaints[0]


def test_18_the_start_hook_carries_names_of_packages_and_no_other_code_of_theirs() -> None:
    text = start_hook.pth_text(["vllm", "acme'); import os; ('"])
    compile(text, "ascend_patches.pth", "exec")
    result = run_python(f"import json\n{START}exec({text!r})\nprint(json.dumps(ascend_patches_start.roots[-1]))")
    assert result.json == "acme'); import os; ('"
