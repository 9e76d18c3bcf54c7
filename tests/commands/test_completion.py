"""completion: what the scripts offer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support import World

from ascend_patches.commands.command_line import _EXAMPLES, parser


def offered(world: World, tmp_path: Path, *words: str) -> list[str]:
    """What bash offers after some words, the last of which is being typed."""
    script = tmp_path / "completion"
    script.write_text(world.command("completion", "bash").stdout)
    stub = tmp_path / "ascend-patches"
    stub.write_text("#!/bin/sh\nprintf 'greeting\\nrotary\\n'\n")
    stub.chmod(0o755)
    typed = " ".join(f"'{word}'" for word in ("ascend-patches", *words))
    code = (
        f"PATH={tmp_path}:$PATH; source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _ascend_patches; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_commands_options_and_names_of_patches(world: World, tmp_path: Path) -> None:
    assert offered(world, tmp_path, "comp") == ["compare", "completion"]
    assert offered(world, tmp_path, "check", "--w") == ["--wheels"]
    assert offered(world, tmp_path, "explain", "gr") == ["greeting"]
    assert offered(world, tmp_path, "completion", "") == ["-h", "--help", "bash", "zsh", "fish"]
    assert offered(world, tmp_path, "run", "--", "vllm") == []


def test_fish_is_given_every_command_and_every_option(world: World) -> None:
    script = world.command("completion", "fish").stdout
    for name in filter(None, _EXAMPLES):
        assert f" -a {name} -d " in script
    for option in ("wheels", "report-dir", "emulated"):
        assert f" -l {option}" in script


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_that_bash_can_read(shell: str, world: World) -> None:
    script = world.command("completion", shell).stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, timeout=60).returncode == 0


def test_the_names_alone_are_what_completion_asks_for(greeting: World) -> None:
    assert greeting.command("list", "--names").stdout == "greeting\n"
    assert parser().parse_args(["list", "--names"]).names
