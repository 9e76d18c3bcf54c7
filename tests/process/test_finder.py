"""The finder sees every kind of import of what it watches, and stays out of the way of all others."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, World, run_python

WATCH = (
    "import json, sys\n"
    "from ascend_patches.process.finder import finder\n"
    "finder.install()\n"
    "seen = []\n"
    "finder.after['vllm.engine'] = lambda name, module, already_there: seen.append(name)\n"
)
"""A finder that only takes notes, of ``vllm.engine``."""


@pytest.fixture
def package(world: World) -> World:
    world.package("vllm", {"engine": "VALUE = 1\n", "__main__": "import vllm.engine\n", "other": ""})
    world.write("vllm/data.txt", "content")
    return world


# What it costs those who do not need it


def test_an_unwatched_name_costs_two_dictionary_lookups_and_nothing_else() -> None:
    code = """
        import json
        from ascend_patches.process.finder import Finder

        class Asked(dict):
            def __contains__(self, name):
                asked.append(name)
                return False
            def __getattribute__(self, name):
                raise AssertionError(name)

        asked = []
        finder = Finder()
        finder.before, finder.after, finder.unreachable, finder._ask_the_others = Asked(), Asked(), None, None
        print(json.dumps([finder.find_spec('x.y', None), asked]))
    """
    assert run_python(code).json == [None, ["x.y", "x.y"]]


def test_the_finder_imports_nothing_but_sys() -> None:
    tree = ast.parse((REPOSITORY / "ascend_patches" / "process" / "finder.py").read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert {alias.name for node in top for alias in node.names} == {"sys"}


def test_starting_twice_leaves_one_finder_and_the_first_name() -> None:
    code = """
        import json, sys
        from ascend_patches.process.finder import finder
        from ascend_patches.starting import waking
        waking.start('first', ['vllm']); waking.start('second', ['vllm'])
        print(json.dumps([sys.meta_path.count(finder), finder.started_by]))
    """
    assert run_python(code).json == [1, "first"]


# What it sees


def test_looking_for_a_root_without_importing_it_does_not_wake_the_toolkit(package: World) -> None:
    result = package.python(
        "import importlib.util, importlib.metadata\n"
        "found = importlib.util.find_spec('vllm') is not None\n"
        "print(json.dumps([found, 'ascend_patches.process.toolkit' in sys.modules]))",
        start=True,
    )
    assert result.json == [True, False]


def test_importing_a_root_wakes_the_toolkit_before_the_roots_own_code_runs(world: World) -> None:
    world.package("vllm", {"": "import sys\nAWAKE = 'ascend_patches.process.toolkit' in sys.modules\n"})
    assert world.python("import vllm; print(json.dumps(vllm.AWAKE))", start=True).json is True


def test_a_namespace_root_wakes_the_toolkit_although_it_executes_nothing(world: World) -> None:
    world.write("vllm/part/__init__.py", "")
    result = world.python(
        "import vllm.part\nprint(json.dumps('ascend_patches.process.toolkit' in sys.modules))", start=True
    )
    assert result.json is True


def test_every_execution_of_a_watched_module_is_seen_and_failed_ones_are_not(package: World) -> None:
    package.write("vllm/engine.py", "import sys\nif getattr(sys, 'broken', False):\n    raise OSError('disk')\n")
    result = package.python(
        WATCH + "import importlib\n"
        "steps = {}\n"
        "sys.broken = True\n"
        "try:\n"
        "    import vllm.engine\n"
        "except OSError:\n"
        "    steps['failed'] = len(seen)\n"
        "sys.broken = False\n"
        "import vllm.engine\n"
        "steps['retried'] = len(seen)\n"
        "import vllm.engine\n"
        "steps['imported again'] = len(seen)\n"
        "importlib.reload(vllm.engine)\n"
        "steps['reloaded'] = len(seen)\n"
        "del sys.modules['vllm.engine']\n"
        "import vllm.engine\n"
        "steps['deleted'] = len(seen)\n"
        "print(json.dumps(steps))"
    )
    assert result.json == {"failed": 0, "retried": 1, "imported again": 1, "reloaded": 2, "deleted": 3}


def test_an_imported_module_shows_no_trace_of_the_watching(package: World) -> None:
    result = package.python(
        WATCH + "import vllm.engine as m\n"
        "print(json.dumps([type(m.__loader__).__name__, type(m.__spec__.loader).__name__, m.__spec__.origin, seen]))"
    )
    engine = str(package.folder / "vllm" / "engine.py")
    assert result.json == ["SourceFileLoader", "SourceFileLoader", engine, ["vllm.engine"]]


def test_the_watching_adds_no_frame_to_an_exception_of_the_module_that_would_hide_where_it_came_from(
    package: World,
) -> None:
    package.write("vllm/engine.py", "1 / 0\n")
    result = package.python(WATCH + "import vllm.engine")
    assert f'File "{package.folder}/vllm/engine.py", line 1' in result.stderr
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_what_a_module_puts_in_its_own_place_is_what_is_handed_on(package: World) -> None:
    package.write("vllm/engine.py", "import sys\nclass Other: pass\nsys.modules[__name__] = Other()\n")
    result = package.python(
        WATCH + "finder.after['vllm.engine'] = lambda name, module, there: seen.append([name, type(module).__name__])\n"
        "import vllm.engine\n"
        "print(json.dumps(seen))"
    )
    assert result.json == [["vllm.engine", "Other"]]


def test_a_lazily_loaded_module_is_seen_when_it_is_loaded(package: World) -> None:
    result = package.python(
        WATCH + "import importlib.util\n"
        "spec = importlib.util.find_spec('vllm.engine')\n"
        "spec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['vllm.engine'] = module\n"
        "spec.loader.exec_module(module)\n"
        "before = list(seen)\n"
        "value = module.VALUE\n"
        "print(json.dumps([before, value, seen]))"
    )
    assert result.json == [[], 1, ["vllm.engine"]]


def test_running_a_package_as_a_program_is_seen(package: World) -> None:
    package.write("sitecustomize.py", WATCH + "import atexit\natexit.register(lambda: print(json.dumps(seen)))\n")
    assert package.python(["-m", "vllm"]).json == ["vllm.engine"]


def test_running_a_watched_module_as_a_program_works_as_ever(package: World) -> None:
    package.write("sitecustomize.py", WATCH)
    package.write("vllm/engine.py", "if __name__ == '__main__':\n    print(1)\n")
    assert package.python(["-m", "vllm.engine"]).json == 1


def test_a_module_in_an_archive_is_seen(tmp_path: Path) -> None:
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("vllm/__init__.py", "")
        packed.writestr("vllm/engine.py", "VALUE = 1\n")
    result = run_python(WATCH + "import vllm.engine\nprint(json.dumps([vllm.engine.VALUE, seen]))", path=[archive])
    assert result.json == [1, ["vllm.engine"]]


def test_a_module_inside_a_namespace_package_is_seen(world: World) -> None:
    world.write("vllm/engine.py", "VALUE = 1\n")
    assert world.python(WATCH + "import vllm.engine\nprint(json.dumps(seen))").json == ["vllm.engine"]


def test_a_loader_without_exec_module_is_left_alone_and_noted(world: World) -> None:
    result = world.python(
        WATCH + "import importlib.machinery, warnings\n"
        "class Old:\n"
        "    pass\n"
        "class OldFinder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'vllm.engine':\n"
        "            return importlib.machinery.ModuleSpec(name, Old())\n"
        "sys.meta_path.append(OldFinder)\n"
        "spec = finder.find_spec('vllm.engine', [])\n"
        "print(json.dumps([type(spec.loader).__name__, finder.unreachable]))"
    )
    assert result.json == ["Old", {"vllm.engine": "its loader Old has no exec_module"}]


# Other finders


def test_a_finder_behind_that_asks_importlib_again_gets_an_answer_and_the_module_is_seen_once(package: World) -> None:
    result = package.python(
        WATCH
        + "import importlib.util\n"
        "class AsksAgain:\n"
        "    busy = set()\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name != 'vllm.engine' or name in self.busy:\n"
        "            return None\n"
        "        self.busy.add(name)\n"
        "        try:\n"
        "            return importlib.util.find_spec(name)\n"
        "        finally:\n"
        "            self.busy.discard(name)\n"
        "sys.meta_path.insert({position}, AsksAgain())\n"
        "import vllm.engine\n"
        "print(json.dumps([vllm.engine.VALUE, seen]))".replace("{position}", "1")
    )
    assert result.json == [1, ["vllm.engine"]]


def test_a_finder_in_front_that_asks_importlib_and_wraps_the_loader_does_not_hide_the_module(package: World) -> None:
    result = package.python(
        WATCH + "import wrapt\n"
        "theirs = []\n"
        "wrapt.register_post_import_hook(lambda module: theirs.append(module.__name__), 'vllm.engine')\n"
        "in_front = sys.meta_path.index(finder) > 0\n"
        "import vllm.engine\n"
        "print(json.dumps([in_front, theirs, seen]))"
    )
    assert result.json == [True, ["vllm.engine"], ["vllm.engine"]]


def test_a_finder_in_front_that_finds_the_target_itself_is_reported_and_apply_patches_mends_it(
    greeting: World,
) -> None:
    result = greeting.python(
        "import vllm\n"
        "from importlib.machinery import PathFinder\n"
        "class Greedy:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        return PathFinder.find_spec(name, path) if name == 'vllm.engine' else None\n"
        "sys.meta_path.insert(0, Greedy)\n"
        "import vllm.engine\n"
        "from ascend_patches import apply_patches, status\n"
        "patches = [status()['patches'][0], apply_patches()['patches'][0]]\n"
        "print(json.dumps([[patch['state'], patch['reason'], patch['targets'][0]['reason']] for patch in patches]))",
        start=True,
    )
    (state, reason, why), (later, _, _) = result.json
    missed = "vllm.engine was imported out of the finder's sight; call apply_patches() now"
    assert (state, why, later) == ("waiting", missed, "applied")
    assert reason.startswith(missed)


# What others do with a spec


def test_what_others_ask_of_a_found_spec_reaches_the_real_loader(package: World) -> None:
    result = package.python(
        WATCH + "import importlib.util, inspect, pickle, pkgutil\n"
        "finder.after['vllm'] = finder.after['vllm.engine']\n"
        "loader = importlib.util.find_spec('vllm.engine').loader\n"
        "again = pickle.loads(pickle.dumps(loader))\n"
        "print(json.dumps([\n"
        "    [type(again).__name__, again.path == loader.path],\n"
        "    loader.is_package('vllm.engine'),\n"
        "    loader.get_source('vllm.engine'),\n"
        "    loader.get_filename('vllm.engine') == loader.path,\n"
        "    loader.get_code('vllm.engine').co_filename == loader.path,\n"
        "    pkgutil.get_data('vllm', 'data.txt').decode(),\n"
        "    sorted(module.name for module in pkgutil.iter_modules(importlib.util.find_spec('vllm')\n"
        "        .submodule_search_locations)),\n"
        "]))"
    )
    assert result.json == [
        ["SourceFileLoader", True],
        False,
        "VALUE = 1\n",
        True,
        True,
        "content",
        ["__main__", "engine", "other"],
    ]


def test_resources_of_a_watched_package_can_be_read(package: World) -> None:
    result = package.python(
        WATCH + "import importlib.resources\n"
        "finder.after['vllm'] = finder.after['vllm.engine']\n"
        "print(json.dumps([importlib.resources.files('vllm').joinpath('data.txt').read_text(), seen]))"
    )
    assert result.json == ["content", ["vllm"]]


def test_what_a_tracer_puts_on_the_loader_that_it_finds_works_as_on_the_real_one(package: World) -> None:
    result = package.python(
        WATCH + "class Tracer:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name != 'vllm.engine':\n            return None\n"
        "        spec = finder.find_spec(name, path, target)\n"
        "        get_code = spec.loader.get_code\n"
        "        spec.loader.get_code = lambda name: traced.append(name) or get_code(name)\n"
        "        return spec\n"
        "traced = []\n"
        "sys.meta_path.insert(0, Tracer())\n"
        "import vllm.engine\n"
        "print(json.dumps([traced, seen, vllm.engine.VALUE]))"
    )
    assert result.json == [["vllm.engine"], ["vllm.engine"], 1]
