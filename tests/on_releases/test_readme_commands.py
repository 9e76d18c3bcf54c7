"""The README's commands about releases, as it shows them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.upstream


def shown(beginning: str) -> list[str]:
    """The words of the one command of the README that begins so."""
    (line,) = (line for line in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE) if line.startswith(beginning))
    return shlex.split(line, comments=True)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_PATCHES")}
    # The `python` of a command is the one that runs the tests.
    environ |= {"PYTHONPATH": str(REPOSITORY), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=300)


def test_check_tells_of_every_patch_on_the_releases_named() -> None:
    done = run(sys.executable, "-m", "ascend_patches", *shown("ascend-patches check")[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qwen3-vl-vision" in done.stdout


def test_a_release_is_run() -> None:
    done = run(sys.executable, *shown("tools/upstream run"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_releases_are_listed() -> None:
    done = run(sys.executable, *shown("tools/upstream list"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["diff", "explain"])
def test_a_patch_is_shown_where_it_fits(command: str) -> None:
    on_a_release = ["tools/upstream", "run", "vllm-ascend==0.18.0", "--", "python", "-m", "ascend_patches"]
    done = run(sys.executable, *on_a_release, *shown(f"ascend-patches {command}")[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AscendMMEncoderAttention.forward_oot" in done.stdout
