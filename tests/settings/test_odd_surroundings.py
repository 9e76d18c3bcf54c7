"""Surroundings that no server should have, and some do: each is survived, and the patches are on."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from support import World

GREET = "import vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))"

ODD = {
    "list on the path": "sys.path.append(['a'])",
    "dictionary on the path": "sys.path.insert(0, {})",
    "nothing on the path": "sys.path.append(None)",
    "number on the path": "sys.path.append(3)",
    "path object on the path": "import pathlib\nsys.path.append(pathlib.Path('/tmp'))",
    "bytes on the path": "sys.path.append(b'/tmp')",
    "missing folders on the path": "sys.path += ['/nowhere', '', 'a' * 10_000]",
    "no argv": "del sys.argv",
    "argv of anything": "sys.argv = [None, 3]",
    "no executable": "sys.executable = None",
    "no standard error": "sys.stderr = None",
    "closed standard error": "sys.stderr.close()",
    "deleted directory": "import os, tempfile\nos.chdir(folder := tempfile.mkdtemp())\nos.rmdir(folder)",
    "deleted directory on the path": (
        "import os, tempfile\nsys.path.insert(0, '')\nos.chdir(folder := tempfile.mkdtemp())\nos.rmdir(folder)"
    ),
    "no home": "import os\nos.environ.pop('HOME', None)",
    "finders of anything": "sys.meta_path.append(object())",
    "modules of anything": "sys.modules['odd'] = 5\nsys.modules['none'] = None",
}


DELETED = "import os, tempfile\nos.chdir(folder := tempfile.mkdtemp())\nos.rmdir(folder)\n"


@cache
def python_lives_in_a_deleted_directory() -> bool:
    """Python 3.13.0 does not: an import that finds no name in a module of its own ends in a SystemError there."""
    code = f"{DELETED}import socket"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
@pytest.mark.parametrize("how", ["start", "call"])
def test_the_patches_are_on(change: str, how: str, greeting: World, tmp_path: Path) -> None:
    if "rmdir" in change and not python_lives_in_a_deleted_directory():
        pytest.skip("this Python itself fails in a deleted directory")
    call = "import ascend_patches\nascend_patches.apply_patches()\n" if how == "call" else ""
    env = {"ASCEND_PATCHES_REPORT_DIR": str(tmp_path / "reports")}
    result = greeting.python(f"{change}\n{call}{GREET}", start=how == "start", env=env)
    assert result.json == "patched you!"
    assert result.stderr == ""
    assert len(list((tmp_path / "reports").iterdir())) == 1


@pytest.mark.parametrize("variable", [f"ASCEND_PATCHES_{name}" for name in ("CONFIG", "REPORT_DIR", "SHADOW_DIR")])
@pytest.mark.parametrize("how", ["start", "call"])
def test_a_relative_path_in_a_deleted_directory_ends_nothing(variable: str, how: str, greeting: World) -> None:
    if not python_lives_in_a_deleted_directory():
        pytest.skip("this Python itself fails in a deleted directory")
    call = "import ascend_patches\nascend_patches.apply_patches()\n" if how == "call" else ""
    result = greeting.python(DELETED + call + GREET, start=how == "start", env={variable: "some/where"})
    expected = "upstream you!" if variable == "ASCEND_PATCHES_CONFIG" else "patched you!"
    assert "Traceback" not in result.stderr
    assert result.json.endswith("you!")
    assert (result.json == "patched you!") == (expected == "patched you!")


def test_a_settings_file_that_is_not_there_any_more_is_a_mistake_that_is_said(greeting: World) -> None:
    result = greeting.python(DELETED + GREET, start=True, env={"ASCEND_PATCHES_CONFIG": "patches.toml"})
    assert "ascend_patches: patches.toml: cannot be read: No such file or directory" in result.stderr


def test_home_is_meant_by_a_tilde_in_every_variable(greeting: World, tmp_path: Path) -> None:
    (tmp_path / "patches.toml").write_text("shadow = 1\nquarantine = 0\n")
    greeting.package("vllm", {"engine": "def greet(who):\n    return f'hello {who}'\n"})
    env = {
        "HOME": str(tmp_path),
        "ASCEND_PATCHES_CONFIG": "~/patches.toml",
        "ASCEND_PATCHES_REPORT_DIR": "~/reports",
        "ASCEND_PATCHES_SHADOW_DIR": "~/inputs",
    }
    greeting.python("import vllm.engine\nvllm.engine.greet('you')", start=True, env=env)
    assert (tmp_path / "reports").is_dir()
    shown = greeting.command("doctor", env=env).stdout
    assert f"{tmp_path}/reports can be written" in shown


FORK = """
import os, threading, vllm
from ascend_patches.starting.this_process import toolkit

def never(): pass
registered = {}
os.register_at_fork = lambda **hooks: registered.update(hooks)
toolkit.lock.hold_across_forks(never)
registered["after_in_parent"]()
registered["before"]()
registered["after_in_parent"]()
holder = threading.Thread(target=toolkit.lock.__enter__)
holder.start(); holder.join()
registered["after_in_child"]()
with toolkit.lock:
    print(json.dumps("free"))
"""


def test_a_fork_that_began_before_the_lock_was_watched_frees_what_it_took_and_no_more(greeting: World) -> None:
    result = greeting.python(FORK, start=True)
    assert (result.json, result.stderr) == ("free", "")


def test_a_descriptor_of_stderr_that_is_closed_changes_no_exit_code(greeting: World) -> None:
    code = (
        "import os, vllm.engine\nos.close(2)\nvllm.engine.greet = print\n"
        "from ascend_patches import revert_patches\nrevert_patches()\nprint(json.dumps('the end'))\n"
    )
    assert greeting.python(code, start=True).json == "the end"
