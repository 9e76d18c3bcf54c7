"""What a patch relies on is looked at again: code that is exchanged after its import was never verified."""

from __future__ import annotations

import pytest
from support import World

RUN = "vllm.engine:run"
HELP = "vllm.engine:Model.help"
UPSTREAM = """\
class Model:
    def help(self):
        return 'upstream'

def run(model):
    return model.help() + ' runs'
"""
CALLS_FIRST = (
    "from ascend_patches.declaring import first_call\n"
    "def run(model):\n    first_call.happens()\n    return 'ours, with ' + model.help()\n"
)
SWAP = "vllm.engine.Model.help = lambda self: 'theirs'\n"
START = """\
import types
import vllm.engine
from ascend_patches import apply_patches, status
run = lambda: vllm.engine.run(vllm.engine.Model())
old = vllm.engine.Model.help
"""


@pytest.fixture
def relying(world: World) -> World:
    """A patch of one function that relies on a method of a class."""
    world.package("vllm", {"engine": UPSTREAM, "other": ""}, version="0.15.0")
    world.package("vllm_ascend", {}, version="0.15.0")
    world.write("vllm_ascend/patch/__init__.py", "")
    world.write("vllm_ascend/patch/worker/__init__.py", f"import vllm.engine\n{SWAP}")
    fingerprints = {target: (world.fingerprint(target),) for target in (RUN, HELP)}
    world.patches(
        "from ascend_patches import *\n"
        f"{CALLS_FIRST}\n"
        f"PATCHES = [Patch('running', 'a patch for a test', (Variant('only', always, "
        f"(Rewrite({RUN!r}, replace=run, fingerprints={fingerprints[RUN]!r}),), ({HELP!r},), "
        f"known={ {HELP: fingerprints[HELP]}!r}),))]\n"
    )
    return world


def show(what: str) -> str:
    return f"print(json.dumps({what}))\n"


def test_a_patch_is_applied_as_long_as_what_it_relies_on_is_there(relying: World) -> None:
    result = relying.python(START + "run()\n" + show("[status()['patches'][0]['state'], run()]"), start=True)
    assert result.json == ["applied", "ours, with upstream"]


def test_code_that_is_exchanged_after_its_import_takes_the_patch_out_and_is_named(relying: World) -> None:
    result = relying.python(START + SWAP + show("[status()['patches'][0], run()]"), start=True)
    patch, answer = result.json
    assert (patch["state"], answer) == ("skipped", "theirs runs")
    assert f"{HELP}, which it relies on, now belongs to __main__ (<string>:" in patch["reason"]
    assert "could not be undone" not in patch["reason"]
    assert any("running is skipped" in line for line in result.complaints)


def test_the_first_call_looks(relying: World) -> None:
    result = relying.python(START + SWAP + show("[run(), run()]"), start=True)
    assert result.json == ["ours, with theirs", "theirs runs"]
    assert any(f"{HELP}, which it relies on, now belongs to" in line for line in result.complaints)


def test_vllm_ascend_s_worker_patches_are_looked_at_before_any_call(relying: World) -> None:
    result = relying.python(START + "import vllm_ascend.patch.worker\n" + show("[run()]"), start=True)
    assert result.json == ["theirs runs"]
    assert any("now belongs to vllm_ascend.patch.worker (" in line for line in result.complaints)


def test_strict_mode_says_why_at_the_exchange(relying: World) -> None:
    code = (
        "import vllm.engine\nfrom ascend_patches import StrictModeError\n"
        "try:\n    import vllm_ascend.patch.worker\nexcept StrictModeError as error:\n    print(json.dumps(str(error)))"
    )
    result = relying.python(code, start=True, env={"ASCEND_PATCHES": "strict"})
    assert f"{HELP}, which it relies on, now belongs to vllm_ascend.patch.worker" in result.json


def test_strict_mode_says_why_at_the_first_call(relying: World) -> None:
    code = START + SWAP + "from ascend_patches import StrictModeError\n"
    code += "try:\n    run()\nexcept StrictModeError as error:\n    print(json.dumps(str(error)))"
    assert f"{HELP}, which it relies on" in relying.python(code, start=True, env={"ASCEND_PATCHES": "strict"}).json


def test_asking_for_the_state_raises_nothing_in_strict_mode(relying: World) -> None:
    result = relying.python(
        START + SWAP + show("status()['patches'][0]['state']"), start=True, env={"ASCEND_PATCHES": "strict"}
    )
    assert result.json == "skipped"
    assert HELP in result.stderr


def test_the_same_code_again_is_no_exchange(relying: World) -> None:
    code = "vllm.engine.Model.help = types.FunctionType(old.__code__, vars(vllm.engine), 'help')\n"
    assert relying.python(START + code + show("status()['patches'][0]['state']"), start=True).json == "applied"


def test_code_that_is_gone_is_said(relying: World) -> None:
    result = relying.python(START + "del vllm.engine.Model.help\n" + show("status()['patches'][0]"), start=True)
    assert result.json["state"] == "skipped"
    assert "has no help" in result.json["reason"]


def test_a_patch_is_applied_again_once_its_code_is_back(relying: World) -> None:
    code = SWAP + "status()\nvllm.engine.Model.help = old\n"
    code += show("[apply_patches()['patches'][0]['state'], run()]")
    assert relying.python(START + code, start=True).json == ["applied", "ours, with upstream"]


def test_settings_may_keep_a_patch_beside_unknown_code(relying: World) -> None:
    settings = relying.settings("unknown = 'apply'\n")
    result = relying.python(
        START + SWAP + show("status()['patches'][0]"), start=True, env={"ASCEND_PATCHES_CONFIG": settings}
    )
    assert result.json["state"] == "applied"
    assert "not verified" in result.json["reason"]
    assert HELP in result.json["reason"]


def test_later_calls_do_not_look(relying: World) -> None:
    code = (
        START + "run()\nfrom ascend_patches.process.known_code import KnownCode\nlooked = []\n"
        "KnownCode.any_moved = lambda *args: looked.append(args)\nrun()\n" + show("looked")
    )
    assert relying.python(code, start=True).json == []


INHERITED = "vllm.engine:Special.help"


@pytest.fixture
def inheriting(world: World) -> World:
    """A patch that relies on what a class inherits, and goes around the base's method that it inherits."""
    source = f"{UPSTREAM}\nclass Special(Model):\n    pass\n"
    world.package("vllm", {"engine": source, "other": ""}, version="0.15.0")
    known = {HELP: (world.fingerprint(HELP),)}
    world.patches(
        "from ascend_patches import *\n"
        "def around(wrapped, instance, args, kwargs):\n    return 'ours around ' + wrapped(*args, **kwargs)\n"
        f"PATCHES = [Patch('running', 'a patch for a test', (Variant('only', always, "
        f"(Rewrite({HELP!r}, around=around, fingerprints={known[HELP]!r}),), ({INHERITED!r},), "
        f"known={ {INHERITED: known[HELP]}!r}),))]\n"
    )
    return world


def test_what_a_patch_itself_puts_into_a_base_is_no_exchange_of_what_is_inherited(inheriting: World) -> None:
    code = (
        START
        + "vllm.engine.Special().help()\n"
        + show("[status()['patches'][0]['state'], vllm.engine.Special().help()]")
    )
    result = inheriting.python(code, start=True)
    assert (result.json, result.complaints) == (["applied", "ours around upstream"], [])


def test_what_is_inherited_is_known_again_after_a_revert(inheriting: World) -> None:
    code = (
        START + "from ascend_patches import revert_patches\nrevert_patches()\nbefore = vllm.engine.Special().help()\n"
    )
    code += show("[before, apply_patches()['patches'][0]['state'], vllm.engine.Special().help()]")
    assert inheriting.python(code, start=True).json == ["upstream", "applied", "ours around upstream"]


def test_code_of_others_in_the_place_of_what_is_inherited_takes_the_patch_out(inheriting: World) -> None:
    code = START + "vllm.engine.Special.help = lambda self: 'theirs'\n"
    result = inheriting.python(code + show("[status()['patches'][0], vllm.engine.Model().help()]"), start=True)
    patch, answer = result.json
    assert (patch["state"], answer) == ("skipped", "upstream")
    assert f"{INHERITED}, which it relies on, now belongs to __main__" in patch["reason"]
