"""--additional-config of vLLM: settings that vLLM hands to its processes with its configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import World

CONFIG = """
from contextlib import contextmanager
from dataclasses import dataclass, field

@dataclass
class VllmConfig:
    additional_config: dict = field(default_factory=dict)

    def __post_init__(self):
        self.finished = True

current = None

@contextmanager
def set_current_vllm_config(vllm_config, check_compile=False, prefix=None):
    global current
    current = vllm_config
    yield
"""
ENGINE = "def double(x):\n    return x * 2\n"
READY = "import vllm.engine, vllm.config as c, ascend_patches, pickle, json\n"
SHOW = "print(vllm.engine.double(1)); print(json.dumps(ascend_patches.status()))"
FRONT_END = "config = c.VllmConfig(additional_config={document!r})\n"
WORKER = (
    "config = c.VllmConfig.__new__(c.VllmConfig); config.__dict__['additional_config'] = {document!r}\n"
    "with c.set_current_vllm_config(config, check_compile=True): pass\n"
    "assert c.current is config\n"
)


@pytest.fixture
def serving(world: World) -> World:
    world.package("vllm", {"engine": ENGINE, "config": CONFIG}, version="0.18.0")
    world.patch(
        "double",
        {"vllm.engine:double": "double"},
        "factor = 5\ndef choose(options):\n    global factor\n    factor = options['factor']\n"
        "def double(x):\n    return x * factor\n",
        more="options={'factor': Option(5, 'how much')}, configure=choose",
    )
    return world


def run(world: World, said: Any, how: str = FRONT_END, first: str = READY, **env: str) -> tuple[str, dict[str, Any]]:
    """What the function answers, and the patch's status, once vLLM's configuration is known."""
    code = first + how.format(document={"ascend_patches": said}) + SHOW
    result = world.python(code, start=True, env=env)
    return result.stdout.splitlines()[0] if result.stdout else result.stderr, result.patch("double")


@pytest.mark.parametrize("how", [FRONT_END, WORKER], ids=["front end", "worker"])
def test_a_patch_is_switched_off_wherever_the_configuration_is_handed_to(how: str, serving: World) -> None:
    answer, patch = run(serving, {"patches": {"double": {"enabled": False}}}, how)
    assert (answer, patch["state"], patch["reason"]) == ("2", "skipped", "switched off by --additional-config")


def test_a_patch_that_the_file_switches_off_is_switched_on(serving: World) -> None:
    file = serving.settings("[patches.double]\nenabled = false\n")
    answer, patch = run(serving, {"patches": {"double": {"enabled": True}}}, ASCEND_PATCHES_CONFIG=file)
    assert (answer, patch["state"]) == ("5", "applied")


def test_a_patch_is_switched_on_before_its_module_is_imported(serving: World) -> None:
    file = serving.settings("[patches.double]\nenabled = false\n")
    later = READY.replace("vllm.engine, ", "")
    code = FRONT_END + "import vllm.engine\n"
    answer, patch = run(serving, {"patches": {"double": True}}, code, later, ASCEND_PATCHES_CONFIG=file)
    assert (answer, patch["state"]) == ("5", "applied")


def test_an_option_is_changed_and_an_override_of_the_file_is_not_stronger(serving: World) -> None:
    override = "[[patches.double.override]]\nwhen = { vllm = '0.18.0' }\n"
    file = serving.settings(f"{override}factor = 6\n")
    assert run(serving, {}, ASCEND_PATCHES_CONFIG=file)[0] == "6"
    assert run(serving, {"patches": {"double": {"factor": 7}}}, ASCEND_PATCHES_CONFIG=file)[0] == "7"


def test_the_environment_has_the_last_word(serving: World) -> None:
    answer, _ = run(serving, {"patches": {"double": False}}, ASCEND_PATCHES_ENABLE="double")
    assert answer == "5"
    answer, _ = run(serving, {"mode": "off"}, ASCEND_PATCHES="on")
    assert answer == "5"


def test_everything_is_switched_off(serving: World) -> None:
    answer, patch = run(serving, {"mode": "off"})
    assert (answer, patch["state"], patch["reason"]) == ("2", "skipped", "switched off by --additional-config")


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        ({"patches": {"duoble": True}}, "ascend_patches.patches.duoble: there is no patch 'duoble'; did you mean"),
        ({"mod": "on"}, "ascend_patches.mod: unknown key 'mod'"),
        ({"patches": {"double": {"factor": "x"}}}, "patches.double.factor: expected an integer, found 'x'"),
        ({"patches": {"double": {"override": [{"when": {}}]}}}, "overrides for releases belong into a settings file"),
        ([1], "expected an object as in a settings file, found [1]"),
    ],
)
def test_a_mistake_is_said_and_no_patch_is_on(said: Any, mistake: str, serving: World) -> None:
    code = READY + FRONT_END.format(document={"ascend_patches": said}) + SHOW
    result = serving.python(code, start=True)
    assert result.stdout.splitlines()[0] == "2"
    assert mistake in result.stderr
    assert result.patch("double")["reason"] == "switched off because the settings cannot be used"


@pytest.mark.parametrize("said", [{"mod": "on", "mode": "strict"}, {"mod": "on"}])
def test_a_mistake_stops_a_strict_server(said: Any, serving: World) -> None:
    env = {} if "mode" in said else {"ASCEND_PATCHES": "strict"}
    result = serving.python(READY + FRONT_END.format(document={"ascend_patches": said}), start=True, env=env)
    assert result.returncode != 0
    assert "StrictModeError: strict mode: --additional-config: ascend_patches.mod: unknown key" in result.stderr


def test_what_keeps_the_old_code_is_named(serving: World) -> None:
    keep = "class Layer: pass\nlayer = Layer(); layer.kept = [vllm.engine.double]\n"
    code = READY + keep + FRONT_END.format(document={"ascend_patches": {"mode": "off"}}) + SHOW
    reason = serving.python(code, start=True).patch("double")["reason"]
    assert "too late for" in reason


@pytest.mark.parametrize("additional", [{}, {"other": 1}, None, {"ascend_patches": None}])
def test_a_configuration_that_says_nothing_changes_nothing(additional: Any, serving: World) -> None:
    code = READY + f"config = c.VllmConfig({additional!r})\nassert config.finished\n" + SHOW
    result = serving.python(code, start=True)
    assert result.stdout.splitlines()[0] == "5"
    assert result.patch("double")["state"] == "applied"


def test_the_same_configuration_again_changes_nothing(serving: World) -> None:
    again = FRONT_END + WORKER.replace("\n", "\n") + WORKER
    code = READY + again.format(document={"ascend_patches": {"patches": {"double": {"factor": 9}}}}) + SHOW
    assert json.loads(serving.python(code, start=True).stdout.splitlines()[0]) == 9


def test_a_module_that_took_the_function_before_the_toolkit_came_calls_it_too(serving: World) -> None:
    serving.write("vllm/worker.py", "from vllm.config import set_current_vllm_config\n")
    late = "import vllm.worker, vllm.engine, vllm.config as c, ascend_patches, json\nascend_patches.apply_patches()\n"
    worker = WORKER.replace("c.set_current", "vllm.worker.set_current")
    assert run(serving, {"patches": {"double": {"factor": 8}}}, worker, late)[0] == "8"
