"""Interpreter start: what runs in every process of an environment costs next to nothing, and is never in the way."""

from __future__ import annotations

import ast

import pytest
from support import REPOSITORY, START, World, run_python

START_MODULE = REPOSITORY / "ascend_patches_start.py"


@pytest.fixture
def package(world: World) -> World:
    world.package("vllm", {"engine": "VALUE = 1\n"})
    return world


def test_starting_imports_one_module_and_nothing_that_python_has_not_loaded_anyway() -> None:
    before, after = "import sys\nbefore = set(sys.modules)\n", "added = sorted(set(sys.modules) - before)\n"
    assert run_python(before + START + after + "import json; print(json.dumps(added))").json == ["ascend_patches_start"]


def test_the_start_module_imports_nothing_at_its_top_but_sys_and_os() -> None:
    tree = ast.parse(START_MODULE.read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert {alias.name for node in top for alias in node.names} == {"os", "sys"}


@pytest.mark.parametrize("version", [(3, 4), (3, 7), (3, 10)])
def test_the_start_module_can_be_compiled_by_older_pythons(version: tuple[int, int]) -> None:
    ast.parse(START_MODULE.read_text(), feature_version=version)


@pytest.mark.parametrize("off", ["off", "OFF", " Off "])
def test_off_leaves_no_finder(off: str) -> None:
    code = START + "import json, sys\nprint(json.dumps(ascend_patches_start in sys.meta_path))"
    assert run_python(code, env={"ASCEND_PATCHES": off}).json is False


def test_the_finder_takes_the_place_of_the_waiting_module_when_a_root_is_looked_for(package: World) -> None:
    result = package.python(
        "place = sys.meta_path.index(ascend_patches_start)\n"
        "import vllm\n"
        "from ascend_patches.process.finder import finder\n"
        "print(json.dumps([sys.meta_path.index(finder) == place, ascend_patches_start in sys.meta_path]))",
        start=True,
    )
    assert result.json == [True, False]


def test_more_roots_come_from_the_start_hook_and_from_the_environment(world: World) -> None:
    world.package("acme", {})
    world.package("other", {})
    code = START + (
        "import json, sys\n"
        "ascend_patches_start.roots += ['acme']\n"
        "import {}\n"
        "print(json.dumps('ascend_patches.process.toolkit' in sys.modules))"
    )
    assert world.python(code.format("acme")).json is True
    assert world.python(code.format("other")).json is False
    assert world.python(code.format("other"), env={"ASCEND_PATCHES_ROOTS": "x,other"}).json is True


# When the toolkit itself cannot start


@pytest.fixture
def broken_toolkit(package: World) -> World:
    """A world in which the toolkit's requirement ``packaging`` cannot be imported."""
    package.write("packaging/__init__.py", "raise ImportError('no packaging here')\n")
    return package


def test_a_toolkit_that_cannot_start_says_so_once_and_is_not_in_the_way(broken_toolkit: World) -> None:
    result = broken_toolkit.python(
        "import vllm, vllm.engine, importlib\nimportlib.reload(vllm)\nprint(json.dumps(vllm.engine.VALUE))", start=True
    )
    assert result.json == 1
    assert result.stderr == "ascend_patches: cannot start, no patch is on: ImportError: no packaging here\n"


def test_a_toolkit_that_cannot_start_stops_a_strict_server_with_a_typed_error(broken_toolkit: World) -> None:
    result = broken_toolkit.python(
        "from ascend_patches import StrictModeError\n"
        "try:\n"
        "    import vllm\n"
        "except StrictModeError as error:\n"
        "    print(json.dumps(str(error)))",
        start=True,
        env={"ASCEND_PATCHES": "strict"},
    )
    assert result.json == "strict mode: cannot start, no patch is on: ImportError: no packaging here"


def test_a_process_without_stderr_is_not_disturbed(broken_toolkit: World) -> None:
    result = broken_toolkit.python("sys.stderr = None\nimport vllm\nprint(json.dumps('fine'))", start=True)
    assert result.json == "fine"


def test_a_missing_toolkit_is_said_once_and_vllm_runs(package: World) -> None:
    code = WITHOUT_TOOLKIT + "import vllm, importlib\nimportlib.reload(vllm)\nprint(json.dumps('fine'))"
    result = package.python(code, start=True)
    assert result.json == "fine"
    assert result.complaints == ["ascend_patches: no patch is on, the toolkit cannot be imported: gone"]


WITHOUT_TOOLKIT = """
class Gone:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == 'ascend_patches':
            raise ImportError('gone')
sys.meta_path.insert(0, Gone)
"""


def test_a_missing_toolkit_stops_a_strict_server_at_every_attempt_and_is_no_missing_vllm(package: World) -> None:
    result = package.python(
        WITHOUT_TOOLKIT + "said = []\n"
        "for attempt in range(2):\n"
        "    try:\n"
        "        import vllm\n"
        "    except ImportError:\n"
        "        said.append('ImportError')\n"
        "    except RuntimeError as error:\n"
        "        said.append(str(error))\n"
        "print(json.dumps(said))",
        start=True,
        env={"ASCEND_PATCHES": "strict"},
    )
    assert result.json == ["strict mode: no patch is on, the toolkit cannot be imported: gone"] * 2


def test_two_threads_that_look_for_two_roots_at_once_are_both_answered_by_the_finder(world: World) -> None:
    world.package("vllm", {})
    world.package("vllm_ascend", {})
    result = world.python(
        "from ascend_patches.process.finder import finder\n"
        "from ascend_patches.starting.waking import take_over\n"
        "specs = [take_over(ascend_patches_start, name, None, None) for name in ('vllm', 'vllm_ascend')]\n"
        "print(json.dumps([type(spec.loader).__name__ for spec in specs]))",
        start=True,
    )
    assert result.json == ["Loader", "Loader"]


def test_waking_imports_nothing_that_only_some_patches_need(package: World) -> None:
    heavy = "'copy', 'dataclasses', 'einops', 'wrapt'"
    code = (
        "import sys, vllm.engine\n"
        f"print(json.dumps(['ascend_patches.process.toolkit' in sys.modules, *({{{heavy}}} & set(sys.modules))]))"
    )
    assert package.python(code, start=True).json == [True]
