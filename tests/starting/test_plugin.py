"""The way in through vLLM's general plugins."""

from __future__ import annotations

import configparser

import pytest
from support import REPOSITORY, World


def test_the_entry_point_that_vllm_loads_is_declared_and_leads_here() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(REPOSITORY / "setup.cfg")
    declared = metadata["options.entry_points"]["vllm.general_plugins"].split()
    assert declared == ["ascend_patches", "=", "ascend_patches.starting.plugin:activate"]


def test_the_plugin_patches_what_is_imported_and_what_will_be(world: World) -> None:
    source = "def f():\n    return 'upstream'\n"
    world.package("vllm", {"one": source, "two": source})
    world.patch("one", {"vllm.one:f": "f"}, "def f():\n    return 'ours'\n")
    world.patch("two", {"vllm.two:f": "f"}, "def f():\n    return 'ours'\n")
    result = world.python(
        "import vllm.one\n"
        "from ascend_patches import status; from ascend_patches.starting import plugin\n"
        "plugin.activate(); plugin.activate()\n"
        "import vllm.two\n"
        "print(json.dumps([vllm.one.f(), vllm.two.f(), status()['activated_by']]))"
    )
    assert result.json == ["ours", "ours", "vllm plugin"]


def test_off_imports_no_more_than_the_plugin_and_how_to_ask_for_the_mode(greeting: World) -> None:
    result = greeting.python(
        "from ascend_patches.starting import plugin\nplugin.activate()\n"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('ascend_patches'))))",
        env={"ASCEND_PATCHES": "off"},
    )
    assert result.json == [
        "ascend_patches",
        "ascend_patches.settings",
        "ascend_patches.settings.mode",
        "ascend_patches.starting",
        "ascend_patches.starting.plugin",
    ]


@pytest.mark.parametrize("mode", ["on", "strict"])
def test_an_exception_which_would_kill_the_process_comes_out_only_in_strict_mode(mode: str, greeting: World) -> None:
    settings = greeting.settings("nonsense = 1\n")
    result = greeting.python(
        "from ascend_patches import StrictModeError; from ascend_patches.starting import plugin\n"
        "try:\n    plugin.activate()\n    print(json.dumps('goes on'))\n"
        "except StrictModeError as error:\n    print(json.dumps('stops'))",
        env={"ASCEND_PATCHES": mode, "ASCEND_PATCHES_CONFIG": settings},
    )
    assert result.json == {"on": "goes on", "strict": "stops"}[mode]
