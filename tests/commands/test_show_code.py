"""diff: what replaces upstream's code is shown wherever the command runs."""

from __future__ import annotations

from support import REPOSITORY, World, run_python

from ascend_patches.patches import PATCHES

SHOW_ALL = """
import contextlib, io, json, sys
from ascend_patches.commands.command_line import main
from ascend_patches.patches import PATCHES
shown = {}
for patch in PATCHES:
    for variant in patch.variants:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(["diff", patch.name, "--variant", variant.name])
        shown[f"{patch.name} {variant.name}"] = [code, said.getvalue()]
print(json.dumps(shown))
"""
NO_TORCH = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
FACTORY = "def made(times):\n    def double(x):\n        return x * times\n    return double\n\ndouble = made(2)\n"


def test_every_variant_that_is_shipped_is_shown_without_torch(world: World) -> None:
    world.write("torch/__init__.py", NO_TORCH)
    shown = run_python(SHOW_ALL, path=[world.folder, REPOSITORY]).json
    assert len(shown) == sum(len(patch.variants) for patch in PATCHES)
    assert [name for name, (code, said) in shown.items() if code or "\n+" not in said] == []
    for patch in PATCHES:
        for variant in patch.variants:
            said = shown[f"{patch.name} {variant.name}"][1]
            assert [rewrite.target for rewrite in variant.rewrites if f"{rewrite.target} (variant" not in said] == []


def test_a_replacement_that_is_named_is_read_and_not_imported(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"}, version="0.15.0")
    world.write("faster.py", "import torch\n\n\ndef double(x):\n    return x + x\n")
    world.write("torch/__init__.py", NO_TORCH)
    world.patch("double", {"vllm.engine:double": "'faster:double'"}, "")
    result = world.command("diff", "double")
    assert (result.returncode, result.stderr) == (0, "")
    assert {"-    return x * 2", "+    return x + x"} <= set(result.stdout.splitlines())


def test_a_replacement_that_a_factory_makes_is_shown_with_the_factory(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"}, version="0.15.0")
    world.write("faster.py", f"import torch\n\n\n{FACTORY}")
    world.write("torch/__init__.py", NO_TORCH)
    world.patch("double", {"vllm.engine:double": "'faster:double'"}, "")
    lines = set(world.command("diff", "double").stdout.splitlines())
    assert {"+double = made(2)", "+def made(times):", "+        return x * times"} <= lines


def test_a_replacement_that_cannot_be_shown_is_an_error_of_one_line(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"}, version="0.15.0")
    world.write("faster.py", "import torch\n")
    world.write("torch/__init__.py", NO_TORCH)
    world.patch("double", {"vllm.engine:double": "'faster:double'"}, "")
    result = world.command("diff", "double")
    assert result.returncode == 1
    assert result.stderr == (
        "ascend-patches: the replacement of vllm.engine:double cannot be shown: "
        "ModuleNotFoundError: No module named 'torch'\n"
    )
