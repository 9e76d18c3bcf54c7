"""The public names: each is loaded when it is first used, and the three functions do what they say."""

from __future__ import annotations

from support import World, run_python

import ascend_patches


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport ascend_patches\nadded = sorted(set(sys.modules) - before)\n"
        "import json\nprint(json.dumps(added))"
    )
    assert run_python(code).json == ["ascend_patches"]


def test_every_public_name_is_there_and_is_kept() -> None:
    for name in (*ascend_patches.__all__, "__version__"):
        assert getattr(ascend_patches, name) is getattr(ascend_patches, name)


def test_a_name_that_is_not_there_is_an_attribute_error_as_of_any_module() -> None:
    code = (
        "import json, ascend_patches\n"
        "try:\n    ascend_patches.aply_patches\nexcept AttributeError as error:\n    print(json.dumps(str(error)))"
    )
    assert run_python(code).json == "module 'ascend_patches' has no attribute 'aply_patches'"


def test_a_star_import_gives_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from ascend_patches import *", names)
    assert set(names) - {"__builtins__"} == set(ascend_patches.__all__)


def test_apply_before_and_after_the_import_and_twice_come_to_the_same(greeting: World) -> None:
    apply, target = "from ascend_patches import apply_patches\napply_patches()\n", "import vllm.engine\n"
    show = "print(json.dumps([apply_patches()['patches'][0]['state'], vllm.engine.greet('you')]))"
    for order in (apply + target, target + apply, apply + target + apply, apply + apply + target):
        assert greeting.python(order + show).json == ["applied", "patched you!"], order


def test_a_settings_file_can_be_named(greeting: World) -> None:
    settings = greeting.settings("[patches.greeting]\nenabled = false\n")
    result = greeting.python(
        f"from ascend_patches import apply_patches\nprint(json.dumps(apply_patches({settings!r})['patches'][0]))"
    )
    assert result.json["reason"] == f"switched off by {settings}"


def test_named_patches_are_reverted_and_the_others_stay(world: World) -> None:
    world.package("vllm", {"engine": "def f():\n    return 'upstream'\n\ndef g():\n    return 'upstream'\n"})
    world.patch("one", {"vllm.engine:f": "f"}, "def f():\n    return 'ours'\n")
    world.patch("two", {"vllm.engine:g": "g"}, "def g():\n    return 'ours'\n")
    result = world.python(
        "import vllm.engine\n"
        "from ascend_patches import revert_patches\n"
        "states = {patch['name']: patch['state'] for patch in revert_patches('one')['patches']}\n"
        "print(json.dumps([states, vllm.engine.f(), vllm.engine.g()]))",
        start=True,
    )
    assert result.json == [{"one": "reverted", "two": "applied"}, "upstream", "ours"]


def test_apply_raises_in_strict_mode_and_in_no_other(greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    code = (
        "import vllm.engine\n"
        "from ascend_patches import StrictModeError, apply_patches\n"
        "try:\n    print(json.dumps(apply_patches()['patches'][0]['state']))\n"
        "except StrictModeError as error:\n    print(json.dumps(str(error)[:60]))"
    )
    assert greeting.python(code).json == "skipped"
    strict = greeting.python(code, env={"ASCEND_PATCHES": "strict"}).json
    assert strict == "strict mode: greeting: upstream changed: never verified agai"


def test_the_module_is_the_command() -> None:
    assert run_python(["-m", "ascend_patches", "--version"]).stdout == f"ascend-patches {ascend_patches.__version__}\n"
