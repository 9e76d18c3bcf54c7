"""Shadow runs, in processes without torch: what is compared, what the caller gets, and what a difference leads to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import Result, World

ALWAYS = {"ASCEND_PATCHES_SHADOW": "1"}
TARGET = "vllm.engine:total"


def total(world: World, replacement: str, upstream: str = "def total(xs):\n    return sum(xs)\n", **more: Any) -> World:
    """A stand-in vLLM with one function of a list, and a patch of it."""
    world.package("vllm", {"engine": upstream})
    world.patch("quick", {TARGET: "total"}, replacement, **more)
    return world


def run(world: World, code: str, env: Mapping[str, str] = ALWAYS) -> Result:
    """What a process prints that runs ``code`` with the patch on."""
    return world.python(f"import vllm.engine\nfrom vllm.engine import total\n{code}", env=env, start=True)


SHOW = "from ascend_patches import status; print(json.dumps([{answer}, status()['patches'][0]]))"
RIGHT = "def total(xs):\n    return 0 + sum(xs)\n"
WRONG = "def total(xs):\n    return sum(xs) if len(xs) < 3 else -1\n"


# What it costs where nobody asked


def test_without_a_share_nothing_of_it_is_there(world: World) -> None:
    result = run(
        total(world, RIGHT),
        "import quick_module\n"
        "loaded = [name for name in sys.modules if name.startswith('ascend_patches.shadow')]\n"
        "print(json.dumps([total.__code__ is quick_module.total.__code__, loaded, total.__closure__]))",
        env={},
    )
    assert result.json == [True, [], None]


def test_without_a_share_the_report_says_that_nothing_is_compared(world: World) -> None:
    _, patch = run(total(world, RIGHT), SHOW.format(answer="0"), env={}).json
    assert patch["shadow"] is None


# What is compared


def test_a_patch_that_agrees_stays_applied_and_is_counted(world: World) -> None:
    result = run(total(world, RIGHT), SHOW.format(answer="[total([1, 2]), total([3])]"))
    answers, patch = result.json
    assert (answers, patch["state"]) == ([3, 3], "applied")
    assert (patch["shadow"]["compared"], patch["shadow"]["mismatches"]) == (2, 0)
    assert patch["reason"].endswith("shadow: 2 calls compared, 0 differed")
    assert result.complaints == []


def test_a_share_of_the_calls_is_compared_the_first_among_them(world: World) -> None:
    code = (
        "counts = []\nfrom ascend_patches.starting.this_process import toolkit\n"
        "for _ in range(1000):\n    total([1])\n    counts.append(toolkit.patches['quick'].shadow.counts.compared)\n"
        "print(json.dumps([counts[0], counts[-1]]))"
    )
    first, all_of_them = run(total(world, RIGHT), code, env={"ASCEND_PATCHES_SHADOW": "0.01"}).json
    assert (first, 8 <= all_of_them <= 12) == (1, True)


def test_the_same_calls_are_compared_in_every_process(world: World) -> None:
    code = (
        "from ascend_patches.shadow.chosen import Chosen\n"
        "chosen = Chosen(0.003)\n"
        "print(json.dumps([call for call in range(5000) if chosen()]))"
    )
    assert run(total(world, RIGHT), code).json == run(total(world, RIGHT), code).json


@pytest.mark.parametrize("layers", [24, 27, 32, 50, 100])
def test_no_layer_of_a_model_is_left_out_for_ever(layers: int) -> None:
    from ascend_patches.shadow.chosen import Chosen

    chosen = Chosen(0.01)
    assert {call % layers for call in range(1000 * layers) if chosen()} == set(range(layers))


# What the two runs see of each other


def test_the_original_gets_copies_and_its_changes_are_not_seen(world: World) -> None:
    upstream = "def total(xs):\n    answer = sum(xs)\n    xs.append('upstream was here')\n    return answer\n"
    ours = "def total(xs):\n    answer = sum(xs)\n    xs.append('ours')\n    return answer\n"
    answer, patch = run(total(world, ours, upstream), "xs = [1, 2]\ntotal(xs)\n" + SHOW.format(answer="xs")).json
    assert (answer, patch["shadow"]["mismatches"]) == ([1, 2, "ours"], 0)


def test_the_original_does_not_see_what_the_replacement_changed(world: World) -> None:
    upstream = "def total(xs):\n    return sum(xs)\n"
    ours = "def total(xs):\n    answer = sum(xs)\n    xs.clear()\n    return answer\n"
    _, patch = run(total(world, ours, upstream), "total([1, 2])\n" + SHOW.format(answer="0")).json
    assert (patch["shadow"]["compared"], patch["shadow"]["mismatches"]) == (1, 0)


def test_functions_that_answer_nothing_are_compared_by_what_they_write(world: World) -> None:
    upstream = "def total(xs):\n    xs.append(sum(xs))\n"
    ours = "def total(xs):\n    xs.append(0)\n"
    _, patch = run(total(world, ours, upstream), "total([1, 2])\n" + SHOW.format(answer="0")).json
    assert patch["state"] == "reverted"


METHOD = "class Engine:\n    def __init__(self):\n        self.calls = 0\n    def go(self, x):\n"


def method(world: World, upstream: str, ours: str) -> World:
    world.package("vllm", {"engine": METHOD + upstream + "def total(xs): ...\n"})
    world.patch("quick", {"vllm.engine:Engine.go": "go"}, "def go(self, x):\n" + ours)
    return world


def test_what_the_original_assigns_to_its_object_is_not_seen(world: World) -> None:
    body = "        self.calls += 1\n        return x + self.calls\n"
    method(world, body, body.replace("        ", "    "))
    code = "engine = vllm.engine.Engine()\nanswers = [engine.go(1), engine.go(1)]\n"
    answer, patch = run(world, code + SHOW.format(answer="[answers, engine.calls]")).json
    assert answer == [[2, 3], 2]
    assert (patch["shadow"]["compared"], patch["shadow"]["mismatches"]) == (2, 0)


ADVICE = "def advice(wrapped, instance, args, kwargs):\n    return {answer}\n"


@pytest.mark.parametrize(
    ("kind", "call"),
    [("", "Engine().go(1)"), ("@staticmethod", "Engine.go(1)"), ("@classmethod", "Engine().go(1)")],
    ids=["method", "static method", "class method"],
)
@pytest.mark.parametrize("offset", [0, 1], ids=["that agrees", "that does not"])
def test_advice_is_compared(kind: str, call: str, offset: int, world: World) -> None:
    first = {"": "self, ", "@staticmethod": "", "@classmethod": "cls, "}[kind]
    source = f"class Engine:\n    {kind or 'pass'}\n    def go({first}x):\n        return x\ndef total(xs): ...\n"
    world.package("vllm", {"engine": source})
    code = ADVICE.format(answer=f"wrapped(*args, **kwargs) + {offset}")
    world.patch("quick", {"vllm.engine:Engine.go": "advice"}, code, around=True)
    answer, patch = run(world, SHOW.format(answer=f"vllm.engine.{call}")).json
    assert (answer, patch["shadow"]["compared"], patch["shadow"]["mismatches"]) == (1, 1, offset)


def test_a_property_is_compared(world: World) -> None:
    source = "class Engine:\n    @property\n    def size(self):\n        return 4\ndef total(xs): ...\n"
    world.package("vllm", {"engine": source})
    world.patch("quick", {"vllm.engine:Engine.size": "size"}, "def size(self):\n    return 5\n")
    answer, patch = run(world, SHOW.format(answer="vllm.engine.Engine().size")).json
    assert (answer, patch["state"]) == (4, "reverted")


def test_in_its_shadow_run_a_patch_is_out_as_a_whole_and_nothing_is_compared_there(world: World) -> None:
    world.package(
        "vllm",
        {"engine": "def inner(x):\n    return x + 1\n\ndef total(x):\n    return inner(x) * 2\n"},
    )
    # Each alone would be wrong; together they are right.
    world.patch(
        "quick",
        {"vllm.engine:inner": "inner", TARGET: "total"},
        "import sys\n\n"
        "def inner(x):\n    return (x + 1) * 2\n\n"
        "def total(x):\n    return sys.modules['vllm.engine'].inner(x) if x else 2\n",
    )
    # Only 0, so that the replacement of inner is not called: in the shadow run, it is upstream's that answers.
    answer, patch = run(world, SHOW.format(answer="total(0)")).json
    assert (answer, patch["state"], patch["shadow"]["compared"]) == (2, "applied", 1)


def test_an_error_of_the_original_is_counted_and_does_not_reach_the_caller(world: World) -> None:
    upstream = "def total(xs):\n    raise ValueError('upstream cannot')\n"
    result = run(total(world, RIGHT, upstream), SHOW.format(answer="[total([1]), total([2])]"))
    answer, patch = result.json
    assert (answer, patch["state"], patch["shadow"]["original_failed"]) == ([1, 2], "applied", 2)
    (complaint,) = result.complaints
    assert "vllm.engine:total: not compared: the original failed" in complaint
    assert complaint.endswith("ValueError: upstream cannot")


def test_an_error_that_both_raise_reaches_the_caller_as_ever(world: World) -> None:
    upstream = "def total(xs):\n    raise ValueError('neither can')\n"
    code = "try:\n    total([1])\nexcept ValueError as error:\n    said = str(error)\n"
    answer, patch = run(total(world, upstream, upstream), code + SHOW.format(answer="said")).json
    assert (answer, patch["shadow"]["mismatches"]) == ("neither can", 0)


def test_a_replacement_that_fails_where_the_original_answers_is_a_difference(world: World) -> None:
    ours = "def total(xs):\n    raise RuntimeError('out of luck')\n"
    answer, patch = run(total(world, ours), SHOW.format(answer="total([1, 2])")).json
    assert (answer, patch["state"]) == (3, "reverted")
    assert "RuntimeError: out of luck where the original answers" in patch["reason"]


def test_coroutines_and_constructors_are_not_compared(world: World) -> None:
    source = "class Engine:\n    def __init__(self, x):\n        self.x = x\nasync def total(xs):\n    return 1\n"
    world.package("vllm", {"engine": source})
    world.patch(
        "quick",
        {"vllm.engine:Engine.__init__": "init", TARGET: "total"},
        "def init(self, x):\n    self.x = -x\nasync def total(xs):\n    return 2\n",
    )
    code = "import asyncio\nanswers = [vllm.engine.Engine(1).x, asyncio.run(total([]))]\n"
    answer, patch = run(world, code + SHOW.format(answer="answers")).json
    assert (answer, patch["shadow"]["compared"]) == ([-1, 2], 0)


def test_what_stands_there_looks_like_what_it_replaces(world: World) -> None:
    import inspect

    upstream = "def total(xs, start=0):\n    'Adds.'\n    return sum(xs, start)\n"
    ours = "def total(xs, start=0):\n    return sum(xs, start)\n"
    code = (
        "import inspect, pickle\n"
        "same = pickle.loads(pickle.dumps(total)) is total\n"
        "print(json.dumps([total.__name__, total.__qualname__, total.__module__, total.__doc__, same, "
        "str(inspect.signature(total))]))"
    )
    expected = ["total", "total", "vllm.engine", "Adds.", True, str(inspect.signature(lambda xs, start=0: 0))]
    assert run(total(world, ours, upstream), code).json == expected


# What a difference leads to


def test_a_difference_reverts_the_patch_and_the_caller_gets_the_answer_of_the_original(world: World) -> None:
    result = run(total(world, WRONG), SHOW.format(answer="[total([1]), total([1, 2, 3]), total([2, 2, 2])]"))
    answer, patch = result.json
    assert answer == [1, 6, 6]
    assert patch["state"] == "reverted"
    assert patch["reason"].startswith(
        "reverted by itself after a call that differed from the original: vllm.engine:total: -1 instead of 6; "
        "called with xs [1, 2, 3]"
    )


def test_it_is_said_once_with_target_inputs_and_error(world: World) -> None:
    settings = world.settings("quarantine = 0\nshadow = 1\n")
    result = run(
        total(world, WRONG),
        SHOW.format(answer="[total([1, 2, 3]), total([2, 2, 2])]"),
        env={"ASCEND_PATCHES_CONFIG": settings},
    )
    answer, patch = result.json
    assert (answer, patch["state"], patch["shadow"]["mismatches"]) == ([6, 6], "applied", 2)
    assert result.complaints == [
        "ascend_patches: quick differs from the original: vllm.engine:total: -1 instead of 6; called with xs [1, 2, 3]"
    ]


def test_how_many_differences_it_takes_is_a_setting_of_the_patch(world: World) -> None:
    settings = world.settings("[patches.quick]\nshadow = 1\nquarantine = 2\n")
    code = (
        "from ascend_patches import status\nstates = []\n"
        "for _ in range(3):\n    total([1, 2, 3])\n    states.append(status()['patches'][0]['state'])\n"
        "print(json.dumps(states))"
    )
    found = run(total(world, WRONG), code, env={"ASCEND_PATCHES_CONFIG": settings}).json
    assert found == ["applied", "reverted", "reverted"]


def test_existing_objects_that_bound_the_replaced_method_get_the_original_too(world: World) -> None:
    method(world, "        return x\n", "    return -x if x > 1 else x\n")
    code = "bound = vllm.engine.Engine().go\nanswers = [bound(1), bound(2), bound(3)]\n"
    answer, patch = run(world, code + SHOW.format(answer="answers")).json
    assert (answer, patch["state"], patch["shadow"]["compared"]) == ([1, 2, 3], "reverted", 2)


def test_the_class_has_upstreams_own_function_again(world: World) -> None:
    code = "total([1, 2, 3])\nprint(json.dumps(vllm.engine.total.__code__.co_filename.endswith('vllm/engine.py')))"
    assert run(total(world, WRONG), code).json is True


def test_other_patches_go_on(world: World) -> None:
    world.package("vllm", {"engine": "def total(xs):\n    return sum(xs)\n\ndef size(xs):\n    return 0 + len(xs)\n"})
    world.patch("quick", {TARGET: "total"}, WRONG)
    world.patch("size", {"vllm.engine:size": "size"}, "def size(xs):\n    return len(xs)\n")
    code = "total([1, 2, 3])\nfrom ascend_patches import status\n"
    states = "{patch['name']: patch['state'] for patch in status()['patches']}"
    assert run(world, code + f"print(json.dumps({states}))").json == {"quick": "reverted", "size": "applied"}


@pytest.mark.parametrize("again", ["apply_patches()", "revert_patches(); apply_patches()"])
def test_no_request_puts_it_back(again: str, world: World) -> None:
    code = f"total([1, 2, 3])\nfrom ascend_patches import apply_patches, revert_patches\n{again}\n"
    answer, patch = run(total(world, WRONG), code + SHOW.format(answer="vllm.engine.total([1, 2, 3])")).json
    assert (answer, patch["state"]) == (6, "reverted")
    assert patch["reason"].startswith("reverted by itself")


def test_a_reload_of_the_module_does_not_put_it_back(world: World) -> None:
    code = "total([1, 2, 3])\nimport importlib\nimportlib.reload(vllm.engine)\n"
    answer, _ = run(total(world, WRONG), code + SHOW.format(answer="vllm.engine.total([1, 2, 3])")).json
    assert answer == 6


def test_objects_of_a_class_from_before_a_reload_get_the_original_too(world: World) -> None:
    method(world, "        return x\n", "    return -x if x > 1 else x\n")
    code = (
        "import importlib\n"
        "old = vllm.engine.Engine()\n"
        "bound = old.go\n"
        "importlib.reload(vllm.engine)\n"
        "answers = [vllm.engine.Engine().go(2), bound(3), old.go(4)]\n"
    )
    answer, patch = run(world, code + SHOW.format(answer="answers")).json
    assert (answer, patch["state"], patch["shadow"]["compared"]) == ([2, 3, 4], "reverted", 1)


def test_in_the_shadow_run_of_one_patch_the_others_stay(world: World) -> None:
    world.package("vllm", {"engine": "def inner(x):\n    return x\n\ndef total(x):\n    return inner(x)\n"})
    world.patch("inner", {"vllm.engine:inner": "inner"}, "def inner(x):\n    return x + 1\n")
    world.patch(
        "quick", {TARGET: "total"}, "import sys\n\ndef total(x):\n    return sys.modules['vllm.engine'].inner(x)\n"
    )
    code = "answer = total(1)\nfrom ascend_patches import status\n"
    states = "{patch['name']: patch['state'] for patch in status()['patches']}"
    env = {"ASCEND_PATCHES_SHADOW": "quick=1"}
    assert run(world, code + f"print(json.dumps([answer, {states}]))", env=env).json == [
        2,
        {"inner": "applied", "quick": "applied"},
    ]


def test_a_patch_that_was_reverted_on_request_leads_existing_references_to_the_original(world: World) -> None:
    code = "kept = [total]\nfrom ascend_patches import revert_patches\nrevert_patches()\n"
    ours = "def total(xs):\n    return 'ours'\n"
    settings = world.settings("shadow = 0.5\nquarantine = 0\n")
    env = {"ASCEND_PATCHES_CONFIG": settings}
    answer, patch = run(total(world, ours), code + SHOW.format(answer="[kept[0]([1])] * 3"), env=env).json
    assert (answer, patch["reason"].split(";")[0]) == ([1, 1, 1], "undone on request")


def test_what_was_reverted_on_request_is_shadowed_again_when_it_is_applied_again(world: World) -> None:
    code = "from ascend_patches import apply_patches, revert_patches\nrevert_patches()\napply_patches()\n"
    answer, patch = run(total(world, WRONG), code + SHOW.format(answer="vllm.engine.total([1, 2, 3])")).json
    assert (answer, patch["state"]) == (6, "reverted")


def test_a_quarantined_patch_is_no_part_of_the_identity(world: World) -> None:
    code = "from ascend_patches.starting.this_process import toolkit\nbefore = toolkit.identity()\ntotal([1, 2, 3])\n"
    result = run(total(world, WRONG), code + "print(json.dumps([before == 'none', toolkit.identity()]))")
    assert result.json == [False, "none"]


def test_a_shadow_does_not_change_the_identity(world: World) -> None:
    code = "from ascend_patches.starting.this_process import toolkit\nprint(json.dumps(toolkit.identity()))"
    assert run(total(world, RIGHT), code).json == run(total(world, RIGHT), code, env={}).json


def test_threads_that_meet_the_same_difference_revert_it_once(world: World) -> None:
    code = (
        "from multiprocessing.pool import ThreadPool\n"
        "with ThreadPool(8) as pool:\n    answers = pool.map(total, [[1, 2, 3]] * 200)\n"
    )
    result = run(total(world, WRONG), code + SHOW.format(answer="sorted(set(answers))"))
    answer, patch = result.json
    assert (answer, patch["state"]) == ([6], "reverted")
    assert len(result.complaints) == 1


def test_the_report_directory_says_it(world: World, tmp_path: Path) -> None:
    env = {**ALWAYS, "ASCEND_PATCHES_REPORT_DIR": str(tmp_path / "reports")}
    run(total(world, WRONG), "total([1, 2, 3])", env=env)
    shown = world.command("status", "--dir", str(tmp_path / "reports"))
    assert "reverted by itself after a call that differed from the original" in shown.stdout


# The inputs


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_inputs_are_kept_as_they_were_where_a_directory_is_named(world: World, tmp_path: Path) -> None:
    import json

    folder = tmp_path / "inputs"
    ours = "def total(xs):\n    xs.clear()\n    return -1\n"
    result = run(total(world, ours), "total([1, 2, 3])", env={**ALWAYS, "ASCEND_PATCHES_SHADOW_DIR": str(folder)})
    (name,) = kept(folder)
    contents = json.loads((folder / name).read_text())
    assert (contents["patch"], contents["args"], contents["kwargs"]) == ("quick", [[1, 2, 3]], {})
    assert str(folder / name) in result.stderr


def test_they_are_their_owners_alone(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    run(total(world, WRONG), "total([1, 2, 3])", env={**ALWAYS, "ASCEND_PATCHES_SHADOW_DIR": str(folder)})
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())] == ["0o700", "0o600"]


def test_they_are_bounded_in_number(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    settings = world.settings("shadow = 1\nquarantine = 0\n")
    env = {"ASCEND_PATCHES_CONFIG": settings, "ASCEND_PATCHES_SHADOW_DIR": str(folder)}
    result = run(total(world, WRONG), "for _ in range(40):\n    total([1, 2, 3])", env=env)
    assert (len(kept(folder)), result.returncode) == (16, 0)
    assert any("there are 16 files" in complaint for complaint in result.complaints)


FULL = (
    "from ascend_patches.shadow import kept\n"
    "def full(*args, **kwargs):\n    raise OSError(28, 'No space left on device')\nkept.os.fdopen = full\n"
)


def test_a_full_disk_disturbs_nobody_and_leaves_nothing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    env = {**ALWAYS, "ASCEND_PATCHES_SHADOW_DIR": str(folder)}
    result = run(total(world, WRONG), FULL + SHOW.format(answer="total([1, 2, 3])"), env=env)
    answer, patch = result.json
    assert (answer, patch["state"], kept(folder)) == (6, "reverted", [])
    assert any("No space left on device" in complaint for complaint in result.complaints)


def test_a_directory_that_cannot_be_made_disturbs_nobody(world: World, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    env = {**ALWAYS, "ASCEND_PATCHES_SHADOW_DIR": str(in_the_way / "inputs")}
    answer, patch = run(total(world, WRONG), SHOW.format(answer="total([1, 2, 3])"), env=env).json
    assert (answer, patch["state"]) == (6, "reverted")


# What is asked for in the settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shadow = 2\n", "line 1: shadow: expected a number from 0 to 1, found 2"),
        ("shadow = true\n", "line 1: shadow: expected a number from 0 to 1, found true"),
        ("[patches.quick]\nshadow = -0.1\n", "line 2: patches.quick.shadow: expected a number from 0 to 1, found -0.1"),
        ("[patches.quick]\nquarantine = 0.5\n", "line 2: patches.quick.quarantine: expected an integer from 0 on"),
        ("quarantine = -1\n", "line 1: quarantine: expected an integer from 0 on, found -1"),
        ("shaddow = 1\n", "did you mean 'shadow'?"),
    ],
)
def test_a_wrong_value_in_the_file_is_named_with_its_place(text: str, said: str, world: World) -> None:
    env = {"ASCEND_PATCHES_CONFIG": world.settings(text)}
    result = run(total(world, RIGHT), SHOW.format(answer="0"), env=env)
    assert said in result.stderr
    assert result.json[1]["state"] == "skipped"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("often", "ASCEND_PATCHES_SHADOW: 'often' is not a number from 0 to 1; expected a share, or NAME=SHARE,..."),
        ("1.5", "ASCEND_PATCHES_SHADOW: '1.5' is not a number from 0 to 1"),
        ("nan", "ASCEND_PATCHES_SHADOW: 'nan' is not a number from 0 to 1"),
        ("quik=0.1", "ASCEND_PATCHES_SHADOW: there is no patch 'quik'; did you mean 'quick'?"),
    ],
)
def test_a_wrong_value_in_the_environment_is_named(value: str, said: str, world: World) -> None:
    assert said in run(total(world, RIGHT), "", env={"ASCEND_PATCHES_SHADOW": value}).stderr


@pytest.mark.parametrize(
    ("file", "variable", "share"),
    [
        ("", "", None),
        ("shadow = 0.5\n", "", 0.5),
        ("shadow = 0.5\n[patches.quick]\nshadow = 0.25\n", "", 0.25),
        ("shadow = 0.5\n[patches.quick]\nshadow = 0\n", "", None),
        ("[patches.quick]\nshadow = 0.25\n", "0.125", 0.125),
        ("shadow = 0.5\n", "quick=0.75,0.125", 0.75),
        ("shadow = 0.5\n", "0", None),
    ],
)
def test_the_patch_outdoes_the_file_and_the_environment_outdoes_both(
    file: str, variable: str, share: float | None, world: World
) -> None:
    env = {"ASCEND_PATCHES_CONFIG": world.settings(file), "ASCEND_PATCHES_SHADOW": variable}
    _, patch = run(total(world, RIGHT), SHOW.format(answer="0"), env=env).json
    assert (patch["shadow"] and patch["shadow"]["share"]) == share


def test_an_override_for_some_releases_may_ask_for_it(world: World) -> None:
    override = "[[patches.quick.override]]\nwhen = { vllm = '>=1,<2' }\nshadow = 0.5\nquarantine = 3\n"
    env = {"ASCEND_PATCHES_CONFIG": world.settings(override)}
    _, patch = run(total(world, RIGHT), SHOW.format(answer="0"), env=env).json
    assert (patch["shadow"]["share"], patch["shadow"]["quarantine"]) == (0.5, 3)


def test_a_replacement_that_is_meant_to_answer_otherwise_is_not_compared(world: World) -> None:
    world.package("vllm", {"engine": "def total(xs):\n    return sum(xs)\n"})
    world.patches(
        "from ascend_patches import Patch, Rewrite, Variant, always\n"
        "def total(xs):\n    return -1\n"
        f"only = Rewrite({TARGET!r}, replace=total, fingerprints=({world.fingerprint(TARGET)!r},), compared=False)\n"
        "PATCHES = [Patch('other', 'another answer', (Variant('only', always, (only,)),))]\n"
    )
    answer, patch = run(world, SHOW.format(answer="total([1, 2])")).json
    assert (answer, patch["state"], patch["shadow"]["compared"]) == (-1, "applied", 0)
