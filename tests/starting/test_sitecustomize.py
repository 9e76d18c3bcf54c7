"""The bundled sitecustomize: starts the toolkit, and runs the one that it hides as if it were not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import REPOSITORY, SITECUSTOMIZE, World

from ascend_patches.starting import start_hook

FOLDER = SITECUSTOMIZE
THEIRS = "import builtins, sys\nbuiltins.theirs = [__name__, __file__, list(sys.path)]\n"


def test_it_is_the_start_module_itself() -> None:
    file = Path(start_hook.sitecustomize_folder()) / "sitecustomize.py"
    assert file.read_bytes() == (REPOSITORY / "ascend_patches_start.py").read_bytes()


def test_it_starts_the_toolkit_and_says_that_it_did(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\nfrom ascend_patches import status\n"
        "print(json.dumps([vllm.engine.greet('you'), status()['activated_by']]))",
        path=[FOLDER],
    )
    assert result.json == ["patched you!", "sitecustomize"]


def test_it_imports_nothing_of_the_toolkit_before_vllm_is_imported(world: World) -> None:
    result = world.python("print(json.dumps(sorted(n for n in sys.modules if n.startswith('ascend'))))", path=[FOLDER])
    assert result.json == []


@pytest.mark.parametrize("place", ["behind", "in front"])
def test_somebody_elses_runs_whether_it_stands_behind_or_in_front(place: str, greeting: World, tmp_path: Path) -> None:
    theirs = World(tmp_path / "theirs")
    theirs.write("sitecustomize.py", THEIRS)
    path = [FOLDER, theirs.folder] if place == "behind" else [theirs.folder, FOLDER]
    result = greeting.python("import vllm.engine\nprint(json.dumps([theirs[0], vllm.engine.greet('you')]))", path=path)
    # In front, it is the only one that Python runs: then ours is what it hides.
    assert result.json == ["sitecustomize", "patched you!" if place == "behind" else "upstream you!"]


def test_the_next_one_sees_the_path_without_ours_and_everybody_after_it_the_whole_path(world: World) -> None:
    world.write("sitecustomize.py", THEIRS)
    result = world.python(
        "import sitecustomize\nprint(json.dumps([theirs[1], theirs[2], sys.path[1:], sitecustomize.__file__]))",
        path=[FOLDER],
    )
    file, seen, after, in_place = result.json
    assert file == in_place == str(world.folder / "sitecustomize.py")
    assert after[:2] == [str(FOLDER), str(world.folder)]
    assert [entry for entry in after if entry != str(FOLDER)] == seen


def test_what_the_next_one_does_to_the_path_stays(world: World) -> None:
    world.write("sitecustomize.py", "import sys\nsys.path.insert(0, '/added/in/front')\nsys.path.append('/added')\n")
    result = world.python("print(json.dumps(sys.path))", path=[FOLDER])
    assert {"/added/in/front", "/added", str(FOLDER)} <= set(result.json)


def test_without_a_next_one_ours_stands_under_its_name(world: World) -> None:
    result = world.python(
        "import sitecustomize\nprint(json.dumps([sitecustomize.__file__, sys.path[1]]))", path=[FOLDER]
    )
    assert result.json == [str(FOLDER / "sitecustomize.py"), str(FOLDER)]


def test_one_that_raises_is_reported_by_python_as_ever_and_the_toolkit_is_on(greeting: World) -> None:
    greeting.write("sitecustomize.py", "raise LookupError('theirs')\n")
    result = greeting.python(
        "import vllm.engine\nprint(json.dumps([vllm.engine.greet('you'), sys.path[1]]))", path=[FOLDER]
    )
    assert result.json == ["patched you!", str(FOLDER)]
    assert "LookupError: theirs" in result.stderr


def test_an_import_that_fails_inside_the_next_one_is_not_taken_for_its_absence(world: World) -> None:
    world.write("sitecustomize.py", "import no_such_module\n")
    # Python itself is silent about an ImportError in a sitecustomize only when it is sitecustomize that is missing.
    assert "no_such_module" in world.python("pass", path=[FOLDER]).stderr


CHAINING = """
import builtins, os, sys
builtins.runs = getattr(builtins, 'runs', 0) + 1
here = os.path.dirname(__file__)
sys.path.remove(here)
mine = sys.modules.pop('sitecustomize')
try:
    import sitecustomize
except ImportError:
    sys.modules['sitecustomize'] = mine
finally:
    sys.path.insert(0, here)
"""


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_one_that_chains_as_well_runs_once_in_either_order(order: str, greeting: World, tmp_path: Path) -> None:
    chaining, last = World(tmp_path / "chaining"), World(tmp_path / "last")
    chaining.write("sitecustomize.py", CHAINING)
    last.write("sitecustomize.py", THEIRS)
    first = [FOLDER, chaining.folder] if order == "ours first" else [chaining.folder, FOLDER]
    result = greeting.python(
        "import vllm.engine\nprint(json.dumps([runs, theirs[0], vllm.engine.greet('you'), sorted(sys.path[1:3])]))",
        path=[*first, last.folder],
    )
    assert result.json == [1, "sitecustomize", "patched you!", sorted(map(str, first))]


def test_the_folder_given_twice_starts_the_toolkit_once(greeting: World) -> None:
    result = greeting.python(
        "import vllm.engine\nfrom ascend_patches.process.finder import finder\n"
        "print(json.dumps([vllm.engine.greet('you'), sys.meta_path.count(finder)]))",
        path=[FOLDER, f"{FOLDER}{os.sep}", FOLDER],
    )
    assert result.json == ["patched you!", 1]


def test_off_runs_the_next_one_and_imports_nothing(greeting: World) -> None:
    greeting.write("sitecustomize.py", THEIRS)
    result = greeting.python(
        "import vllm.engine\n"
        "ours = sorted(name for name in sys.modules if name.startswith('ascend_patches'))\n"
        "print(json.dumps([ours, theirs[0], vllm.engine.greet('you')]))",
        path=[FOLDER],
        env={"ASCEND_PATCHES": "off"},
    )
    assert result.json == [[], "sitecustomize", "upstream you!"]
