"""Strict mode: the last lines of a server say why it stopped, whichever of its processes knew."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Result, World

REASON = "ascend_patches: strict mode: greeting: LookupError: no such device"
WORKER = "import ascend_patches_start\\nimport vllm.engine"
SERVER = f"""
import os, subprocess, vllm
for _ in range(2):
    subprocess.run([sys.executable, "-c", "{WORKER}"], stderr=subprocess.DEVNULL)
"""


@pytest.fixture
def unfit(world: World) -> World:
    """A stand-in vLLM, and a patch of which nobody knows that it does not fit before it is applied."""
    world.package("vllm", {"engine": "def greet():\n    return 'upstream'\n"})
    world.patch(
        "greeting",
        {"vllm.engine:greet": "greet"},
        "def greet():\n    return 'patched'\ndef configure(options):\n    raise LookupError('no such device')\n",
        more="configure=configure",
    )
    return world


def serve(world: World, folder: Path, code: str, mode: str = "strict") -> Result:
    return world.python(SERVER + code, start=True, env={"ASCEND_PATCHES": mode, "TMPDIR": str(folder)})


def test_the_last_line_is_why_another_process_stopped(unfit: World, tmp_path: Path) -> None:
    ended = serve(unfit, tmp_path, "sys.exit('workers are gone, see above')")
    assert ended.stderr.splitlines() == ["workers are gone, see above", REASON]


def test_it_is_said_after_the_error_that_the_first_process_ends_with(unfit: World, tmp_path: Path) -> None:
    lines = serve(unfit, tmp_path, "raise RuntimeError('workers are gone')").stderr.splitlines()
    assert lines[-2:] == ["RuntimeError: workers are gone", REASON]


def test_nothing_is_left_on_the_disk(unfit: World, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    serve(unfit, folder, "")
    assert list(folder.iterdir()) == []


def test_a_forked_process_does_not_say_it(unfit: World, tmp_path: Path) -> None:
    ended = serve(unfit, tmp_path, "if os.fork() == 0:\n    sys.exit()\nos.wait()")
    assert ended.complaints == [REASON]


def test_without_a_disk_for_it_the_first_process_ends_as_it_would(unfit: World, tmp_path: Path) -> None:
    ended = serve(unfit, tmp_path, "os.unlink(os.environ['ASCEND_PATCHES_LAST_WORDS'])\nsys.exit(3)")
    assert (ended.returncode, ended.stderr) == (3, "")


@pytest.mark.parametrize("mode", ["on", "off"])
def test_other_modes_keep_nothing(mode: str, unfit: World, tmp_path: Path) -> None:
    ended = serve(unfit, tmp_path, "print(json.dumps('ASCEND_PATCHES_LAST_WORDS' in os.environ))", mode)
    assert (ended.json, ended.complaints) == (False, [])


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_was_put_in_the_place_of_its_file_is_neither_waited_for_nor_followed(
    kind: str, unfit: World, tmp_path: Path
) -> None:
    (victim := tmp_path / "victim").write_text("precious\n")
    exchange = f"os.symlink({str(victim)!r}, file)" if kind == "link" else "os.mkfifo(file)"
    code = f"import os, vllm\nfile = os.environ['ASCEND_PATCHES_LAST_WORDS']\nos.unlink(file)\n{exchange}\n"
    run = f"import subprocess\nsubprocess.run([sys.executable, '-c', '{WORKER}'], stderr=subprocess.DEVNULL)\n"
    ended = unfit.python(code + run, start=True, env={"ASCEND_PATCHES": "strict", "TMPDIR": str(tmp_path)})
    assert (ended.stderr, victim.read_text()) == ("", "precious\n")


def test_what_steers_a_terminal_is_written_out(world: World) -> None:
    code = "from ascend_patches.process.finder import say\nsay('a\\x1b[2J\\u202e\\udc80\\u4e2d\\x07b')"
    assert world.python(code).stderr == "ascend_patches: a\\x1b[2J\\u202e\\udc80\u4e2d\\x07b\n"
