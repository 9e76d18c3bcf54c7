"""The demo of the toolkit alone: a stranger's patch for a toy package, applied in every way, switched, undone."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from venvs import REPOSITORY, environment, install_project, say

REQUIREMENTS = ["packaging", "wrapt", "einops", "tomli; python_version < '3.11'", "rich", "setuptools>=68", "wheel"]
SCRIPT = """\
import toy_encoder, ascend_patches
from inspect import getsource
state = [patch for patch in ascend_patches.status()["patches"] if patch["name"] == "toy-segment-lengths"]
print("encode([0, 3, 5, 9]) =", toy_encoder.encode([0, 3, 5, 9]))
print(getsource(toy_encoder.Attention.lengths).rstrip())
for patch in state:
    print(patch["name"], "is", patch["state"], "-", patch["reason"])
if not state:
    print("no patch is active in this process")
"""
SETTINGS = """\
[patches.toy-segment-lengths]
enabled = true

[[patches.toy-segment-lengths.override]]
when = { toy-encoder = ">=1.4,<1.5" }
enabled = false
"""


def run() -> None:
    interpreter = environment("demo", REQUIREMENTS)
    say("installing this repository and the examples")
    install_project(interpreter)
    for example in ("toy-encoder", "toy-encoder-patches"):
        install_project(interpreter, REPOSITORY / "examples" / example)
    command = interpreter.parent / "ascend-patches"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "serve.py"
        script.write_text(SCRIPT, encoding="utf-8")
        settings = Path(folder) / "patches.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        _show("Without the toolkit", [interpreter, script])
        _show("With it, for one command", [command, "run", "--", interpreter, script])
        _show("With it, for every Python of the environment", [command, "install"])
        _show("", [interpreter, script])
        _show("Off on some releases, by patches.toml", [interpreter, script], ASCEND_PATCHES_CONFIG=str(settings))
        _show("Switched off altogether", [interpreter, script], ASCEND_PATCHES="off")
        _show("What would happen here, and why", [command, "explain", "toy-segment-lengths"])
        _show("Is activation in place", [command, "doctor"])
        _show("Undone", [command, "uninstall"])


def _show(title: str, command: list[str | Path], **variables: str) -> None:
    if title:
        print(f"\n== {title}", flush=True)
    shown = [Path(command[0]).name, *map(str, command[1:])]
    print("$ " + " ".join([*(f"{name}={value}" for name, value in variables.items()), shlex.join(shown)]), flush=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "PYTHON"))}
    subprocess.run([str(part) for part in command], check=True, env=environ | variables)
