"""explain: one screen with the answer first, for every patch that is shipped."""

from __future__ import annotations

import pytest
from support import REPOSITORY, World, run_python

from ascend_patches.patches import PATCHES

SCREEN = 40
EXPLAIN_ALL = """
import contextlib, io, json
from ascend_patches.commands.command_line import main
from ascend_patches.patches import PATCHES
said = {}
for patch in PATCHES:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["explain", patch.name]) == 0
    said[patch.name] = output.getvalue()
print(json.dumps(said))
"""


@pytest.mark.parametrize("vllm", ["0.13.0", "0.18.0", "0.32.0"])
def test_every_patch_is_explained_on_one_screen_and_what_happens_here_comes_first(vllm: str, world: World) -> None:
    world.package("vllm", {}, version=vllm)
    world.package("vllm_ascend", {}, version=vllm)
    said = run_python(EXPLAIN_ALL, path=[world.folder, REPOSITORY]).json
    assert list(said) == [patch.name for patch in PATCHES]
    assert {name: len(text.splitlines()) for name, text in said.items() if text.count("\n") > SCREEN} == {}
    first = {name: next(line for line in text.splitlines()[1:] if line) for name, text in said.items()}
    assert {name: line for name, line in first.items() if not line.startswith("here ")} == {}


def test_a_long_reason_is_cut_at_a_word_and_whole_with_all(world: World) -> None:
    world.package("vllm", {"engine": ""}, version="0.15.0")
    targets = {f"vllm.engine:function_{number}": "run" for number in range(60)}
    world.patch("many", targets, "def run():\n    pass\n", verified=False)
    short = world.command("explain", "many").stdout
    assert short.count("\n") < SCREEN
    assert "... (--all has the rest)" in " ".join(short.split())
    everything = world.command("explain", "many", "--all").stdout
    assert "--all has the rest" not in everything
    assert all(target in everything.split("now ")[0] for target in targets)
