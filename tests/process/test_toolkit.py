"""Activation: from a patch that is known to a state with a reason, in every order in which things can happen."""

from __future__ import annotations

from typing import Any

import pytest
from support import World

SHOW = "from ascend_patches import status\nprint(json.dumps(status()))\n"
DOUBLE = "def double(x):\n    return x * 2\n"
OURS = "def double(x):\n    return 'ours'\n"


@pytest.fixture
def two_modules(world: World) -> World:
    """A patch with a target in each of two modules."""
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n", "two": "def g():\n    return 'upstream'\n"})
    world.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.two:g": "g"},
        "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n",
    )
    return world


@pytest.fixture
def in_parts(world: World) -> World:
    """The same, but each target is a part of its own."""
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n", "two": "def g():\n    return 'upstream'\n"})
    world.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.two:g": "g"},
        "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n",
        parts=True,
    )
    return world


def states(patch: dict[str, Any]) -> dict[str, str]:
    return {target["target"]: target["state"] for target in patch["targets"]}


# The course of a patch


def test_a_patch_waits_for_its_module_and_is_applied_when_that_is_imported(greeting: World) -> None:
    result = greeting.python(
        "import vllm\n"
        "from ascend_patches import status\n"
        "before = status()['patches'][0]\n"
        "import vllm.engine\n"
        "after = status()['patches'][0]\n"
        "print(json.dumps([before, after, vllm.engine.greet('you')]))",
        start=True,
    )
    before, after, answer = result.json
    assert (before["state"], before["reason"]) == ("waiting", "variant only fits: on every release")
    assert before["targets"] == [{"target": "vllm.engine:greet", "state": "waiting", "reason": before["reason"]}]
    assert (after["state"], answer) == ("applied", "patched you!")
    assert after["targets"] == [{"target": "vllm.engine:greet", "state": "applied", "reason": "replaced and read back"}]
    assert result.stderr == ""


def test_what_is_imported_already_is_patched_at_once(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\n"
        "from vllm.engine import greet\n"
        "from ascend_patches import apply_patches\n"
        "applied = apply_patches()\n"
        "print(json.dumps([applied['patches'][0]['state'], applied['activated_by'], greet('you')]))"
    )
    assert result.json == ["applied", "apply_patches()", "patched you!"]


def test_applying_is_idempotent_and_keeps_the_very_function(greeting: World) -> None:
    result = greeting.python(
        "from ascend_patches import apply_patches\n"
        "apply_patches()\n"
        "import vllm.engine\n"
        "first = vllm.engine.greet\n"
        "again = [apply_patches() for _ in range(2)]\n"
        "from ascend_patches.starting import plugin\n"
        "plugin.activate()\n"
        "print(json.dumps([vllm.engine.greet is first, again[0] == again[1], again[0]['activated_by']]))",
        start=True,
    )
    assert result.json == [True, True, "apply_patches()"]


def test_a_patch_is_reverted_and_applied_again_on_request(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\n"
        "from vllm.engine import greet as taken_late\n"
        "from ascend_patches import apply_patches, revert_patches\n"
        "steps = []\n"
        "for step in (revert_patches, revert_patches, apply_patches):\n"
        "    patch = step()['patches'][0]\n"
        "    steps.append([patch['state'], patch['reason'], vllm.engine.greet('you'), taken_late('you')])\n"
        "print(json.dumps(steps))",
        start=True,
    )
    reverted, twice, again = result.json
    assert reverted == ["reverted", "undone on request", "upstream you!", "upstream you!"]
    assert twice == reverted
    assert (again[0], again[2], again[3]) == ("applied", "patched you!", "patched you!")


def test_a_reverted_patch_stays_off_when_its_module_is_imported_again(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine, importlib\n"
        "from ascend_patches import revert_patches, status\n"
        "revert_patches('greeting')\n"
        "importlib.reload(vllm.engine)\n"
        "print(json.dumps([status()['patches'][0]['state'], vllm.engine.greet('you')]))",
        start=True,
    )
    assert result.json == ["reverted", "upstream you!"]


def test_reverting_names_the_patches_that_it_knows(greeting: World) -> None:
    result = greeting.python(
        "from ascend_patches import AscendPatchesError, apply_patches, revert_patches\n"
        "apply_patches()\n"
        "try:\n"
        "    revert_patches('greting')\n"
        "except AscendPatchesError as error:\n"
        "    print(json.dumps(str(error)))"
    )
    assert result.json == "there is no patch 'greting'; known: greeting"


def test_other_settings_for_an_active_process_are_refused(greeting: World) -> None:
    one = greeting.write("one.toml", "mode = 'on'\n")
    other = greeting.write("other.toml", "mode = 'on'\n")
    result = greeting.python(
        "from ascend_patches import AscendPatchesError, apply_patches\n"
        f"apply_patches({str(one)!r}); apply_patches({str(one)!r}); apply_patches()\n"
        "try:\n"
        f"    apply_patches({str(other)!r})\n"
        "except AscendPatchesError as error:\n"
        "    print(json.dumps(str(error)))"
    )
    assert result.json == (
        f"already active in this process, by apply_patches(), with the settings of {one}; "
        f"they cannot be exchanged for {other} any more"
    )


def test_a_patch_that_is_switched_off_is_skipped_with_who_switched_it_off(greeting: World) -> None:
    settings = greeting.settings("[patches.greeting]\nenabled = false\n")
    result = greeting.python("import vllm.engine\n" + SHOW, start=True, env={"ASCEND_PATCHES_CONFIG": settings})
    patch = result.patch("greeting")
    assert (patch["state"], patch["reason"]) == ("skipped", f"switched off by {settings}")
    assert result.json["settings_file"] == settings


# One transaction


def test_a_patch_over_two_modules_waits_until_both_are_there(two_modules: World) -> None:
    result = two_modules.python(
        "import vllm.one\n"
        "from ascend_patches import status\n"
        "half = status()['patches'][0]\n"
        "before = vllm.one.f()\n"
        "import vllm.two\n"
        "print(json.dumps([half, status()['patches'][0], before, vllm.one.f(), vllm.two.g()]))",
        start=True,
    )
    half, whole, *answers = result.json
    assert half["reason"].startswith("waiting for the import of vllm.two; variant only fits")
    assert (half["state"], states(half)) == ("waiting", {"vllm.one:f": "waiting", "vllm.two:g": "waiting"})
    assert (whole["state"], states(whole)) == ("applied", {"vllm.one:f": "applied", "vllm.two:g": "applied"})
    assert answers == ["upstream", "ours", "ours"]


def test_a_part_is_applied_while_the_module_of_another_is_not_imported(in_parts: World) -> None:
    result = in_parts.python(
        "import vllm.one\n"
        "from ascend_patches import status\n"
        "half = status()['patches'][0]\n"
        "import vllm.two\n"
        "print(json.dumps([half, status()['patches'][0], vllm.one.f(), vllm.two.g()]))",
        start=True,
    )
    half, whole, *answers = result.json
    assert half["reason"].startswith("1 of 2 parts are on: f; still to be imported: g; variant only fits")
    assert (half["state"], states(half)) == ("applied", {"vllm.one:f": "applied", "vllm.two:g": "waiting"})
    assert [target["reason"] for target in half["targets"]] == [
        "replaced and read back",
        "not imported yet: vllm.two",
    ]
    assert whole["reason"].startswith("variant only fits")
    assert (whole["state"], states(whole)) == ("applied", {"vllm.one:f": "applied", "vllm.two:g": "applied"})
    assert answers == ["ours", "ours"]


def test_a_part_that_does_not_fit_takes_back_those_that_did(in_parts: World) -> None:
    in_parts.write("vllm/two.py", "def g():\n    return 'upstream changed'\n")
    result = in_parts.python(
        "import vllm.one\nbefore = vllm.one.f()\nimport vllm.two\n"
        "print(json.dumps([before, vllm.one.f(), vllm.two.g()]))\n" + SHOW,
        start=True,
    )
    assert result.stdout.splitlines()[0] == '["ours", "upstream", "upstream changed"]'
    assert result.patch("pair")["state"] == "skipped"


def test_what_two_parts_share_goes_in_place_with_the_first_of_them(world: World) -> None:
    world.package(
        "vllm",
        {"common": "def f():\n    return 'upstream'\n", "one": "import vllm.common\n" + DOUBLE, "two": DOUBLE},
    )
    known = {name: world.fingerprint(f"vllm.{name}") for name in ("common:f", "one:double", "two:double")}
    world.patches(
        "from ascend_patches import *\n"
        "def f():\n    return 'ours'\n"
        f"{OURS}\n"
        f"SHARED = Rewrite('vllm.common:f', f, fingerprints=({known['common:f']!r},))\n"
        f"ONE = Rewrite('vllm.one:double', double, fingerprints=({known['one:double']!r},))\n"
        f"TWO = Rewrite('vllm.two:double', double, fingerprints=({known['two:double']!r},))\n"
        "PARTS = (Part('one', (ONE, SHARED)), Part('two', (TWO, SHARED)))\n"
        "PATCHES = [Patch('shared', 'a patch for a test', (Variant('only', always, parts=PARTS),))]\n"
    )
    result = world.python(
        "import vllm.common\nanswers = [vllm.common.f()]\n"
        "import vllm.one\nanswers += [vllm.common.f(), vllm.one.double(2)]\n"
        "import vllm.two\nanswers += [vllm.common.f(), vllm.two.double(2)]\n"
        "from ascend_patches import revert_patches\nrevert_patches()\n"
        "answers += [vllm.common.f(), vllm.two.double(2)]\n"
        "print(json.dumps(answers))",
        start=True,
    )
    assert result.json == ["upstream", "ours", "ours", "ours", "ours", "upstream", 4]


def test_when_the_second_module_does_not_fit_the_first_is_put_back(two_modules: World) -> None:
    two_modules.write("vllm/two.py", "def g():\n    return 'upstream changed'\n")
    result = two_modules.python(
        "import vllm.one\nfrom vllm.one import f\nimport vllm.two\n"
        "print(json.dumps([f(), vllm.one.f(), vllm.two.g()]))\n" + SHOW,
        start=True,
    )
    assert result.stdout.splitlines()[0] == '["upstream", "upstream", "upstream changed"]'
    patch = result.patch("pair")
    assert patch["state"] == "skipped"
    assert patch["reason"].startswith("upstream changed: never verified against this code (vllm.two:g ")
    assert set(states(patch).values()) == {"skipped"}
    assert result.complaints == [f"ascend_patches: pair is skipped: {patch['reason']}"]


def test_when_the_second_rewrite_fails_the_first_is_put_back_and_the_patch_is_failed(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    return 'upstream'\n\ndef g(a):\n    return 'upstream'\n"})
    world.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.one:g": "g"},
        "def f():\n    return 'ours'\n\ndef g(b):\n    return 'ours'\n",
    )
    result = world.python("import vllm.one\nprint(json.dumps([vllm.one.f(), vllm.one.g(1)]))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '["upstream", "upstream"]'
    patch = result.patch("pair")
    misfit = "upstream's positional parameter 'a' is missing: it has 'b' in its place"
    assert (patch["state"], patch["reason"]) == ("failed", f"vllm.one:g: the replacement does not fit: {misfit}")
    assert result.complaints == [f"ascend_patches: pair failed and is not applied: {patch['reason']}"]


def test_a_rewrite_that_cannot_be_set_puts_the_earlier_ones_of_its_module_back(world: World) -> None:
    world.package(
        "vllm",
        {
            "one": """
            def f():
                return 'upstream'

            class Model:
                @staticmethod
                def g():
                    return 'upstream'
            """
        },
    )
    world.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.one:Model.g": "g"},
        """
        def f():
            return 'ours'

        def g():
            return 'ours'

        from functools import partial
        from ascend_patches.replacing import one_step
        setting = one_step.setting

        def refuse(owner, name, value):
            return partial(exec, "raise TypeError('cannot set g')") if name == 'g' else setting(owner, name, value)

        one_step.setting = refuse
        """,
    )
    result = world.python("import vllm.one\nprint(json.dumps([vllm.one.f(), vllm.one.Model.g()]))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == '["upstream", "upstream"]'
    assert result.patch("pair")["reason"] == "vllm.one:Model.g: cannot be replaced: cannot set g"


def test_what_a_failing_patch_cannot_take_back_is_said(two_modules: World) -> None:
    two_modules.write("vllm/two.py", "def g(added):\n    return 'upstream'\n")
    two_modules.patch(
        "pair",
        {"vllm.one:f": "f", "vllm.two:g": "g"},
        "def f():\n    return 'ours'\n\ndef g():\n    return 'ours'\n",
        parts=True,
    )
    result = two_modules.python(
        "import vllm.one\ndef theirs():\n    return 'theirs'\nvllm.one.f = theirs\nimport vllm.two\n"
        "print(json.dumps([vllm.one.f()]))\n" + SHOW,
        start=True,
    )
    assert result.stdout.splitlines()[0] == '["theirs"]'
    patch = result.patch("pair")
    assert patch["state"] == "failed"
    assert patch["reason"].endswith("; could not be undone: vllm.one:f now belongs to __main__ (<string>:4)")


def test_configure_is_given_the_options_before_the_first_rewrite(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.patch(
        "scaled",
        {"vllm.engine:double": "double"},
        "def double(x):\n    return x * factor\n\n"
        "def configure(options):\n    global factor\n    factor = options['factor']\n",
        more="options={'factor': Option(5, 'how much')}, configure=configure",
    )
    settings = world.settings("[patches.scaled]\nfactor = 7\n")
    result = world.python(
        "import vllm.engine\nprint(json.dumps(vllm.engine.double(2)))",
        start=True,
        env={"ASCEND_PATCHES_CONFIG": settings},
    )
    assert result.json == 14


def test_a_configure_that_raises_fails_its_patch_and_nothing_else(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE, "other": DOUBLE})
    world.patch(
        "broken",
        {"vllm.engine:double": "double"},
        OURS + "def configure(options):\n    raise LookupError('no such device')\n",
        more="configure=configure",
    )
    world.patch("sound", {"vllm.other:double": "double"}, OURS)
    result = world.python("import vllm.engine, vllm.other\n" + SHOW, start=True)
    assert result.patch("broken")["reason"] == "LookupError: no such device"
    assert [result.patch(name)["state"] for name in ("broken", "sound")] == ["failed", "applied"]


def test_a_target_that_another_patch_has_rewritten_is_not_rewritten_again_not_even_after_a_reload(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.patch("one", {"vllm.engine:double": "double"}, OURS)
    world.patch("two", {"vllm.engine:double": "double"}, "def double(x):\n    return 'theirs'\n")
    result = world.python(
        "import vllm.engine, importlib\nimportlib.reload(vllm.engine)\nprint(vllm.engine.double(1))\n" + SHOW,
        start=True,
    )
    assert result.stdout.splitlines()[0] == "ours"
    assert result.patch("one")["state"] == "applied"
    assert result.patch("two")["reason"] == "vllm.engine:double is rewritten by the patch one already"
    assert len(result.complaints) == 1


# Version proposes, fingerprint decides


def test_unknown_code_is_skipped_with_its_fingerprint_and_what_to_run(greeting: World) -> None:
    verified = greeting.fingerprint("vllm.engine:greet")
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten ' + name + mark\n")
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True)
    reason = result.patch("greeting")["reason"]
    assert "rewritten you!" in result.stdout
    assert reason == (
        "upstream changed: never verified against this code (vllm.engine:greet "
        f"{greeting.fingerprint('vllm.engine:greet')}); verified was vllm.engine:greet {verified}; "
        "see: ascend-patches diff greeting"
    )
    assert result.complaints == [f"ascend_patches: greeting is skipped: {reason}"]


@pytest.mark.parametrize(
    "settings", ["unknown = 'apply'\n", "[patches.greeting]\nunknown = 'apply'\n"], ids=["for all", "for one"]
)
def test_unknown_code_is_patched_where_the_settings_say_so(settings: str, greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten ' + name + mark\n")
    env = {"ASCEND_PATCHES_CONFIG": greeting.settings(settings)}
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True, env=env)
    assert "patched you!" in result.stdout
    assert result.patch("greeting")["reason"].startswith("not verified: ")


def test_code_of_another_variant_is_patched_by_that_one_and_the_version_is_called_a_liar(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE}, version="0.13.0")
    world.patches(f"""
        from ascend_patches import *
        def older(x):
            return 'older'
        def newer(x):
            return 'newer'
        PATCHES = [Patch('double', 'a patch for a test', (
            Variant('old', version_in('vllm', '<0.15'), (
                Rewrite('vllm.engine:double', replace=older, fingerprints=('0123456789abcdef',)),)),
            Variant('new', version_in('vllm', '>=0.15'), (
                Rewrite('vllm.engine:double', replace=newer,
                        fingerprints=({world.fingerprint("vllm.engine:double")!r},)),)),
        ))]
    """)
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    patch = result.patch("double")
    assert result.stdout.splitlines()[0] == "newer"
    assert (patch["state"], patch["variant"]) == ("applied", "new")
    assert patch["reason"].endswith("although vllm is 0.13.0: the version string is not to be trusted")


def test_a_patch_for_another_environment_is_skipped_silently(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.patch("double", {"vllm.engine:double": "double"}, OURS, gate="installed('vllm-ascend')", verified=False)
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "2"
    assert result.patch("double")["state"] == "skipped"
    assert result.patch("double")["reason"].endswith("vllm-ascend is not installed")
    assert result.stderr == ""


def test_a_patch_that_knows_no_variant_for_a_release_is_skipped_with_a_complaint(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE}, version="0.13.0")
    world.patch("newer", {"vllm.engine:double": "double"}, OURS, gate="version_in('vllm', '>=0.15')", verified=False)
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "2"
    reason = "no variant is for these versions (vllm is 0.13.0, not >=0.15), and none knows the code"
    assert (result.patch("newer")["state"], result.patch("newer")["reason"]) == ("skipped", reason)
    assert result.complaints == [f"ascend_patches: newer is skipped: {reason}"]


def test_the_version_that_an_override_of_the_environment_states_is_used_and_named(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE}, version="0.13.0")
    world.patch("newer", {"vllm.engine:double": "double"}, OURS, gate="vllm_version_is('0.15.0')")
    result = world.python("import vllm.engine\n" + SHOW, start=True, env={"VLLM_VERSION": "0.15.0"})
    assert result.patch("newer")["state"] == "applied"
    assert result.json["versions"]["vllm"] == {"version": "0.15.0", "source": "the VLLM_VERSION variable"}


# What is found out about existing references


def test_existing_objects_that_keep_the_old_code_are_reported(world: World) -> None:
    world.package("vllm", {"engine": "class Model:\n    def run(self):\n        return 'upstream'\n"})
    world.patch("run", {"vllm.engine:Model.run": "run"}, "def run(self):\n    return 'ours'\n")
    result = world.python(
        "from vllm.engine import Model\n"
        "model = Model()\n"
        "kept = model.run\n"
        "from ascend_patches import apply_patches\n"
        "patch = apply_patches()['patches'][0]\n"
        "print(json.dumps([patch['state'], patch['reason'].split('; ')[-1], model.run(), kept()]))"
    )
    assert result.json == [
        "applied",
        (
            "existing objects keep the old code: vllm.engine:Model.run is still held by "
            "a bound method of an existing Model"
        ),
        "ours",
        "upstream",
    ]


def test_nothing_is_reported_when_nobody_keeps_the_old_code(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\n"
        "from ascend_patches import apply_patches, revert_patches\n"
        "reasons = [step()['patches'][0]['reason'] for step in (apply_patches, revert_patches)]\n"
        "print(json.dumps(reasons))"
    )
    assert result.json == [
        "variant only fits: on every release; its code is that of the patch's own declaration",
        "undone on request",
    ]


def test_an_alias_inside_the_targets_own_module_is_pointed_to_the_replacement(greeting: World) -> None:
    greeting.write(
        "vllm/engine.py",
        "def greet(name, mark='!'):\n    'Greets.'\n    return 'upstream ' + name + mark\n\nwelcome = greet\n",
    )
    result = greeting.python(
        "import vllm.engine, importlib\n"
        "first = vllm.engine.welcome('you')\n"
        "importlib.reload(vllm.engine)\n"
        "print(json.dumps([first, vllm.engine.welcome('you')]))",
        start=True,
    )
    assert result.json == ["patched you!", "patched you!"]


def test_a_module_of_a_circle_that_takes_the_name_while_the_target_executes_gets_the_replacement(world: World) -> None:
    world.package(
        "vllm",
        {
            "engine": "def double(x):\n    return x * 2\n\nimport vllm.user\n",
            "user": "from vllm.engine import double\nimport vllm.engine\n",
        },
    )
    world.patch("double", {"vllm.engine:double": "double"}, OURS)
    for first in ("engine", "user"):
        result = world.python(
            f"import vllm.{first}\nimport vllm.user\nprint(json.dumps(vllm.user.double(1)))", start=True
        )
        assert result.json == "ours", first


# What a replacement's module may do


def test_a_replacement_named_by_a_string_is_imported_only_when_its_target_is(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE, "other": ""})
    world.write("replacements.py", "import vllm.engine\n" + OURS)
    world.patch("double", {"vllm.engine:double": "'replacements:double'"}, "")
    result = world.python(
        "import vllm.other\n"
        "before = 'replacements' in sys.modules\n"
        "import vllm.engine\n"
        "print(json.dumps([before, vllm.engine.double(1)]))",
        start=True,
    )
    assert result.json == [False, "ours"]


def test_a_replacement_whose_module_cannot_be_imported_fails_its_patch(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.write("replacements.py", "import no_such_module\n")
    world.patch("double", {"vllm.engine:double": "'replacements:double'"}, "")
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "2"
    assert result.patch("double")["state"] == "failed"
    assert result.patch("double")["reason"] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_what_replaces_its_own_module_does_not_break_the_import(world: World) -> None:
    world.package(
        "vllm",
        {
            "engine": """
            import sys

            def double(x):
                return x * 2

            class Facade:
                def __getattr__(self, name):
                    raise AttributeError(name)

            facade = Facade()
            facade.double = double
            sys.modules[__name__] = facade
            """
        },
    )
    world.patch("double", {"vllm.engine:double": "double"}, OURS)
    result = world.python("import vllm.engine\nprint(vllm.engine.double(1))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "ours"
    assert result.patch("double")["state"] == "applied"


# Other people's patches


def test_a_package_of_patches_that_cannot_be_imported_is_named_and_does_no_harm(greeting: World) -> None:
    greeting.patches("1 / 0\n", module="broken_patches")
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "patched you!"
    assert result.complaints == [
        (
            "ascend_patches: the patches of broken-patches (entry point entry = broken_patches:PATCHES) "
            "cannot be loaded: ZeroDivisionError: division by zero"
        )
    ]


def test_a_second_patch_of_the_same_name_is_left_out_and_named(greeting: World) -> None:
    (greeting.folder / "zz_patches.py").write_bytes((greeting.folder / "greeting_module.py").read_bytes())
    greeting.distribution("zz-patches", "1.0", [], {"ascend_patches.patches": "zz_patches:PATCHES"})
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True)
    assert result.stdout.splitlines()[0] == "patched you!"
    assert result.complaints == [
        (
            "ascend_patches: a second patch named 'greeting', "
            "from zz-patches (entry point entry = zz_patches:PATCHES), is left out"
        )
    ]


def test_an_entry_point_that_is_no_patch_is_named(greeting: World) -> None:
    greeting.patches("PATCHES = 5\n", module="odd_patches")
    (complaint,) = greeting.python("import vllm\n", start=True).complaints
    assert complaint.endswith("cannot be loaded: DeclarationError: it names neither a Patch nor a list of them")


@pytest.mark.parametrize("root", ["vllm.engine", "vllm_ascend"])
@pytest.mark.parametrize("way", ["import vllm\n", "from ascend_patches import apply_patches\napply_patches()\n"])
def test_a_package_of_patches_that_imports_what_it_patches_is_loaded_whole(root: str, way: str, world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.package("vllm_ascend", {})
    world.patch("double", {"vllm.engine:double": "double"}, f"import {root}\n" + OURS)
    result = world.python(way + "import vllm.engine\nprint(json.dumps(vllm.engine.double(1)))", start=True)
    assert (result.json, result.stderr) == ("ours", "")


# Modes


def test_settings_with_mistakes_switch_everything_off_and_say_every_mistake(greeting: World) -> None:
    settings = greeting.settings("mode = 'onn'\n[patches.greting]\n")
    env = {"ASCEND_PATCHES_CONFIG": settings}
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True, env=env)
    assert result.stdout.splitlines()[0] == "upstream you!"
    assert result.complaints == [
        (
            f"ascend_patches: {settings}, line 1: mode: expected one of 'on', 'off', 'strict', found 'onn'; "
            "did you mean 'on'?"
        ),
        f"ascend_patches: {settings}, line 2: patches.greting: there is no patch 'greting'; did you mean 'greeting'?",
        "ascend_patches: no patch is on",
    ]
    assert result.patch("greeting")["reason"] == "switched off because the settings cannot be used"


def test_mode_off_in_the_file_leaves_everything_as_it_is(greeting: World) -> None:
    env = {"ASCEND_PATCHES_CONFIG": greeting.settings("mode = 'off'\n")}
    result = greeting.python("import vllm.engine\nprint(vllm.engine.greet('you'))\n" + SHOW, start=True, env=env)
    assert result.stdout.splitlines()[0] == "upstream you!"
    assert (result.json["mode"], result.json["patches"], result.stderr) == ("off", [], "")


def test_off_wins_over_apply_patches(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\n"
        "from ascend_patches import apply_patches, revert_patches\n"
        "modes = [apply_patches()['mode'], revert_patches()['mode']]\n"
        "print(json.dumps([*modes, vllm.engine.greet('you')]))",
        env={"ASCEND_PATCHES": "off"},
    )
    assert result.json == ["off", "off", "upstream you!"]


CAUGHT = """
from ascend_patches import StrictModeError
said = []
for attempt in range(2):
    try:
        import {module}
    except StrictModeError as error:
        said.append([str(error), isinstance(error, ImportError), '{module}' in sys.modules])
print(json.dumps(said))
"""


def test_strict_mode_stops_the_import_of_vllm_at_every_attempt_when_the_sources_do_not_fit(greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    result = greeting.python(CAUGHT.format(module="vllm"), start=True, env={"ASCEND_PATCHES": "strict"})
    first, second = result.json
    assert first == second
    assert first[0].startswith("strict mode: greeting: upstream changed: never verified against this code")
    assert first[1:] == [False, False]


def test_strict_mode_from_the_settings_file_is_as_strict(greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    env = {"ASCEND_PATCHES_CONFIG": greeting.settings("mode = 'strict'\n")}
    assert len(greeting.python(CAUGHT.format(module="vllm"), start=True, env=env).json) == 2


def test_strict_mode_stops_the_import_of_the_target_when_only_the_live_code_shows_that_it_does_not_fit(
    greeting: World,
) -> None:
    greeting.patch(
        "greeting", {"vllm.engine:greet": "greet"}, "def greet(name, sign):\n    return 'patched ' + name + sign\n"
    )
    result = greeting.python(CAUGHT.format(module="vllm.engine"), start=True, env={"ASCEND_PATCHES": "strict"})
    first, second = result.json
    assert first == second
    assert "the replacement does not fit" in first[0]
    assert first[1:] == [False, False]


def test_strict_mode_lets_vllm_start_when_everything_fits(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))",
        start=True,
        env={"ASCEND_PATCHES": "strict"},
    )
    assert (result.json, result.stderr) == ("patched you!", "")


def test_strict_mode_accepts_a_patch_that_is_for_another_environment_or_switched_off(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE}, version="0.13.0")
    world.patch("newer", {"vllm.engine:double": "double"}, OURS, gate="installed('vllm-ascend')", verified=False)
    world.patch("broken", {"vllm.engine:missing": "double"}, OURS, verified=False)
    result = world.python(
        "import vllm.engine\nprint(json.dumps(vllm.engine.double(1)))",
        start=True,
        env={"ASCEND_PATCHES": "strict", "ASCEND_PATCHES_DISABLE": "broken"},
    )
    assert result.json == 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("mode = 'strict'\nunknwon = 1\n", "unknown key 'unknwon'"),
        ("mode = 'strict\n", "not TOML"),
    ],
)
def test_strict_mode_does_not_start_with_settings_that_cannot_be_used(
    settings: str, complaint: str, greeting: World
) -> None:
    env = {"ASCEND_PATCHES_CONFIG": greeting.settings(settings), "ASCEND_PATCHES": "strict"}
    result = greeting.python(CAUGHT.format(module="vllm"), start=True, env=env)
    assert all(complaint in said for said, _, _ in result.json)
    assert len(result.json) == 2


def test_strict_mode_does_not_start_with_patches_that_cannot_be_loaded(greeting: World) -> None:
    greeting.patches("1 / 0\n", module="broken_patches")
    result = greeting.python(CAUGHT.format(module="vllm"), start=True, env={"ASCEND_PATCHES": "strict"})
    assert "cannot be loaded: ZeroDivisionError" in result.json[0][0]


# Errors of the toolkit's own, made by something it asks

BROKEN_LOOKUP = """
class Broken:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ('torch', 'torch_npu'):
            raise LookupError('a finder of somebody else')
sys.meta_path.insert(0, Broken)
"""


def test_an_unexpected_error_is_one_line_and_the_import_goes_on(greeting: World) -> None:
    settings = greeting.settings("[[patches.greeting.override]]\nwhen = { torch = '>=1' }\nenabled = false\n")
    code = BROKEN_LOOKUP + "import vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))"
    result = greeting.python(code, start=True, env={"ASCEND_PATCHES_CONFIG": settings})
    assert result.json == "upstream you!"
    assert result.stderr == ("ascend_patches: stopped by an error of its own: LookupError: a finder of somebody else\n")


def test_an_unexpected_error_stops_a_strict_server_at_every_attempt(greeting: World) -> None:
    settings = greeting.settings("[[patches.greeting.override]]\nwhen = { torch = '>=1' }\nenabled = false\n")
    result = greeting.python(
        BROKEN_LOOKUP + CAUGHT.format(module="vllm"),
        start=True,
        env={"ASCEND_PATCHES_CONFIG": settings, "ASCEND_PATCHES": "strict"},
    )
    expected = "strict mode: stopped by an error of its own: LookupError: a finder of somebody else"
    assert [said for said, _, _ in result.json] == [expected] * 2


def test_a_problem_is_said_without_traceback_and_with_one_on_request(world: World) -> None:
    world.package("vllm", {"engine": DOUBLE})
    world.patch("double", {"vllm.engine:double": "'replacements:double'"}, "")
    world.write("replacements.py", "raise LookupError('here')\n")
    code = "import vllm.engine, importlib\nimportlib.reload(vllm.engine)\n"
    assert world.python(code, start=True).stderr == (
        "ascend_patches: double failed and is not applied: LookupError: here\n"
    )
    debugged = world.python(code, start=True, env={"ASCEND_PATCHES_DEBUG": "1"})
    assert "replacements.py" in debugged.stderr
    assert len(debugged.complaints) == len(debugged.stderr.splitlines())
    assert debugged.stdout == ""


@pytest.mark.parametrize("stderr", ["None", "open('/dev/full', 'w', buffering=1)", "closed"])
def test_a_process_whose_stderr_cannot_be_written_is_not_disturbed(stderr: str, greeting: World) -> None:
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    make = "closed = open('/dev/null', 'w'); closed.close()\n" if stderr == "closed" else ""
    result = greeting.python(
        f"{make}sys.stderr = {stderr}\nimport vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))\n"
        "sys.stderr = None",
        start=True,
        env={"ASCEND_PATCHES_DEBUG": "1"},
    )
    assert result.json == "rewritten"


def test_a_package_of_patches_that_imports_vllm_first_is_left_out_with_what_to_do_about_it(greeting: World) -> None:
    greeting.patches(
        "import vllm\nfrom ascend_patches import *\n"
        "def greet(name, mark='!'):\n    return 'theirs'\n"
        "VARIANT = Variant('only', always, (Rewrite('vllm.engine:greet', greet),))\n"
        "PATCHES = [Patch('theirs', 'a patch for a test', (VARIANT,))]\n"
    )
    result = greeting.python(
        "import their_patches, vllm.engine\nprint(json.dumps(vllm.engine.greet('you')))", start=True
    )
    assert result.json == "patched you!"
    (complaint,) = result.complaints
    assert "their_patches imports vLLM at its top and was imported first, so it has no PATCHES yet: let it" in complaint
