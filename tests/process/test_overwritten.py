"""What is in place now: a state says what a caller would reach, whoever put it there and whenever."""

from __future__ import annotations

import pytest
from support import World

SHOW = "from ascend_patches import status\nprint(json.dumps(status()))\n"
THEIRS = "import vllm.engine\nbefore = vllm.engine.greet\ndef theirs(name, mark='!'):\n    return 'theirs'\n"


def test_what_another_has_put_at_a_target_is_overwritten_and_named(greeting: World) -> None:
    result = greeting.python(THEIRS + "vllm.engine.greet = theirs\n" + SHOW, start=True)
    patch = result.patch("greeting")
    assert (patch["state"], patch["targets"][0]["state"]) == ("overwritten", "overwritten")
    assert "vllm.engine:greet was replaced, and now belongs to __main__ (<string>:" in patch["reason"]
    assert result.json["identity"] != "none"


def test_a_state_is_applied_again_once_ours_is_back(greeting: World) -> None:
    code = (
        THEIRS + "vllm.engine.greet = theirs\nfrom ascend_patches import status\nstatus()\nvllm.engine.greet = before\n"
    )
    assert greeting.python(code + SHOW, start=True).patch("greeting")["state"] == "applied"


def test_what_wraps_ours_and_says_so_leaves_it_applied(greeting: World) -> None:
    code = (
        "import functools, vllm.engine\nours = vllm.engine.greet\n"
        "@functools.wraps(ours)\ndef traced(*args, **kwargs):\n    return ours(*args, **kwargs)\n"
        "vllm.engine.greet = traced\n"
    )
    assert greeting.python(code + SHOW, start=True).patch("greeting")["state"] == "applied"


def test_what_wrapt_wraps_around_ours_leaves_it_applied(greeting: World) -> None:
    code = (
        "import vllm.engine, wrapt\n"
        "wrapt.wrap_function_wrapper('vllm.engine', 'greet', lambda f, instance, args, kwargs: f(*args, **kwargs))\n"
    )
    assert greeting.python(code + SHOW, start=True).patch("greeting")["state"] == "applied"


def test_what_only_says_that_it_wraps_ours_has_overwritten_it(greeting: World) -> None:
    code = (
        "import functools, vllm.engine\n@functools.wraps(vllm.engine.greet)\n"
        "def theirs(name, mark='!'):\n    return 'theirs'\nvllm.engine.greet = theirs\n"
    )
    assert greeting.python(code + SHOW, start=True).patch("greeting")["state"] == "overwritten"


@pytest.mark.parametrize("shadow", ["0", "1"])
def test_our_function_with_other_code_in_it_is_overwritten(shadow: str, greeting: World) -> None:
    code = THEIRS + "vllm.engine.greet.__code__ = theirs.__code__\n"
    env = {"ASCEND_PATCHES_SHADOW": shadow}
    if shadow == "1":  # what stands there has variables of its own, so that only such code can be put into it
        code = THEIRS + "def around(replacement, recorded, shadow):\n"
        code += "    return lambda *args, **kwargs: (replacement, recorded, shadow)\n"
        code += "vllm.engine.greet.__code__ = around(1, 2, 3).__code__\n"
    patch = greeting.python(code + SHOW, start=True, env=env).patch("greeting")
    assert patch["state"] == "overwritten"
    assert "vllm.engine:greet was replaced, and now belongs to" in patch["reason"]
    assert ", as its code" in patch["reason"]


def test_a_class_that_is_exchanged_takes_its_patched_method_along(world: World) -> None:
    world.package("vllm", {"engine": "class Model:\n    def run(self):\n        return 'upstream'\n"})
    world.patch("run", {"vllm.engine:Model.run": "run"}, "def run(self):\n    return 'ours'\n")
    code = "import vllm.engine\nclass Model:\n    def run(self):\n        return 'theirs'\nvllm.engine.Model = Model\n"
    assert world.python(code + SHOW, start=True).patch("run")["state"] == "overwritten"


def test_the_identity_of_a_process_tells_overwritten_from_applied(greeting: World) -> None:
    code = "import vllm.engine\nfrom ascend_patches import status\nidentities = [status()['identity']]\n"
    code += "vllm.engine.greet = lambda name, mark='!': 'theirs'\nidentities.append(status()['identity'])\n"
    first, second = greeting.python(code + "print(json.dumps(identities))", start=True).json
    assert first != second


def test_strict_mode_stops_the_next_import_of_what_a_patch_looks_at(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    return 1\n", "two": "def g():\n    return 1\n"})
    ours = "def f():\n    return 2\n\ndef g():\n    return 2\n"
    world.patch("pair", {"vllm.one:f": "f", "vllm.two:g": "g"}, ours, parts=True)
    code = (
        "from ascend_patches import StrictModeError\nimport vllm.one\nvllm.one.f = lambda: 3\n"
        "try:\n    import vllm.two\nexcept StrictModeError as error:\n    print(json.dumps(str(error)))"
    )
    result = world.python(code, start=True, env={"ASCEND_PATCHES": "strict"})
    assert "vllm.one:f was replaced, and now belongs to __main__" in result.json


def test_apply_patches_replaces_again_what_upstream_has_put_back(greeting: World) -> None:
    code = (
        "from ascend_patches import apply_patches\nimport vllm.engine\n"
        "from unittest import mock\nupstream = vllm.engine.greet\napply_patches()\n"
        "vllm.engine.greet = upstream\nstates = [apply_patches()['patches'][0]['state']]\n"
        "print(json.dumps([*states, vllm.engine.greet('you')]))"
    )
    assert greeting.python(code).json == ["applied", "patched you!"]


@pytest.mark.parametrize("verb", ["apply_patches", "revert_patches"])
def test_what_is_overwritten_is_left_alone(verb: str, greeting: World) -> None:
    code = THEIRS + f"vllm.engine.greet = theirs\nfrom ascend_patches import {verb}\n{verb}()\n"
    result = greeting.python(code + "print(json.dumps(vllm.engine.greet('you')))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '"theirs"'
    assert result.patch("greeting")["state"] == "overwritten"


def test_objects_of_before_a_reload_answer_where_the_replacement_calls_the_original(world: World) -> None:
    upstream = (
        "class Base:\n    def run(self):\n        return ['base']\n"
        "class Model(Base):\n    def run(self):\n        return [*super().run(), 'upstream']\n"
    )
    world.package("vllm", {"engine": upstream})
    ours = "def run(self):\n    return [*original(self), 'ours']\n"
    world.patch("run", {"vllm.engine:Model.run": "run"}, ours, original_as="original")
    code = (
        "import vllm.engine, importlib\nold = vllm.engine.Model()\nimportlib.reload(vllm.engine)\n"
        "print(json.dumps([old.run(), vllm.engine.Model().run()]))"
    )
    assert world.python(code, start=True).json == [["base", "upstream"], ["base", "upstream", "ours"]]


def test_two_patches_that_would_keep_their_originals_as_one_name_are_told_apart(world: World) -> None:
    world.package("vllm", {"engine": "def f():\n    return 'f'\n\ndef g():\n    return 'g'\n"})
    world.write("shared.py", "def ours():\n    return ['ours', original()]\n")
    for name in ("f", "g"):
        world.patch(f"of-{name}", {f"vllm.engine:{name}": "'shared:ours'"}, "", original_as="original")
    result = world.python("import vllm.engine as e\nprint(json.dumps([e.f(), e.g()]))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '[["ours", "f"], "g"]'
    assert "give each a name of its own" in result.patch("of-g")["reason"]


@pytest.mark.parametrize(
    ("held", "holder"),
    [
        ("TABLE = {'key': greet}", "under 'key'"),
        ("import functools\nBOUND = functools.partial(greet, 'me')", "partial"),
        ("def other(f=greet): ...", "a tuple"),
        ("class Other:\n    again = greet", "under 'again'"),
        ("import json\njson.handler = [greet]", "a list"),
        ("import weakref\nREFERENCE = weakref.ref(greet)", "a weak reference"),
    ],
)
def test_references_that_a_module_took_while_it_was_executed_are_named(held: str, holder: str, greeting: World) -> None:
    file = greeting.folder / "vllm" / "engine.py"
    file.write_text(f"{file.read_text()}\n{held}\n")
    result = greeting.python("import vllm.engine\n" + SHOW, start=True)
    reason = result.patch("greeting")["reason"]
    assert "existing objects keep the old code: vllm.engine:greet is still held by" in reason
    assert holder in reason
