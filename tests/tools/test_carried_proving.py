"""Carried changes put in place on a release: what is right about them is seen, and what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from carried_changes import in_place, proving
from carrying.made_releases import Files, change, code
from carrying.test_prerequisites import FIRST, SECOND, THIRD, carried, clone_of
from carrying.test_written import FIXED, RELEASE, RUNNER
from support import REPOSITORY

from ascend_patches.carrying import onto, writing
from ascend_patches.carrying.results import Definition


def written(tmp_path: Path, release: Files, fixed: Files) -> Path:
    there = code(tmp_path / "release", release)
    result = onto.carry(change({path: release[path] for path in fixed}, fixed), there)
    assert result.verdict == "carried", [each.as_json() for each in result.definitions]
    return Path(writing.write(result, there, str(tmp_path / "written"), "carried-123"))


def put_in_place(folder: Path, tmp_path: Path) -> dict[str, Any]:
    """What is said of one written patch on the release beside it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_PATCHES")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (tmp_path / "release", REPOSITORY)))
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "carried_changes" / "in_place.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"folder"')]
    assert len(told) == 1, done.stderr
    return dict(told[0])


def test_values_imports_methods_and_what_patches_set_are_in_place_and_go_again(tmp_path: Path) -> None:
    told = put_in_place(written(tmp_path, RELEASE, FIXED), tmp_path)
    assert (told["state"], told["problems"], told["left"]) == ("applied", [], [])


def test_a_patch_that_calls_what_the_release_replaces_goes_on(tmp_path: Path) -> None:
    patch = "import vllm.core\n\n\ndef new(x):\n    return 7\n\n\nvllm.core.step = new\n"
    release = {
        RUNNER: "from vllm.core import step\n\n\ndef one(x):\n    return step(x)\n",
        "vllm/core.py": "def step(x):\n    return x\n",
        "vllm_ascend/patch/worker/__init__.py": "from vllm_ascend.patch.worker import patch_core\n",
        "vllm_ascend/patch/worker/patch_core.py": patch,
    }
    folder = written(tmp_path, release, {RUNNER: release[RUNNER].replace("step(x)", "step(x + 1)")})
    told = put_in_place(folder, tmp_path)
    assert (told["state"], told["problems"], told["left"]) == ("applied", [], [])


@pytest.mark.parametrize("wanted", ["True", "False"])
def test_what_the_release_leaves_alone_on_this_device_stays_as_it_is(tmp_path: Path, wanted: str) -> None:
    patch = f"import vllm.core\n\n\ndef new(x):\n    return 7\n\n\nif {wanted}:\n    vllm.core.step = new\n"
    path = "vllm_ascend/patch/worker/patch_core.py"
    release = {
        "vllm/core.py": "def step(x):\n    return x\n",
        "vllm_ascend/patch/worker/__init__.py": "from vllm_ascend.patch.worker import patch_core\n",
        path: patch,
    }
    folder = written(tmp_path, release, {path: patch.replace("return 7", "return 8")})
    told = put_in_place(folder, tmp_path)
    assert (told["state"], told["problems"], told["left"]) == ("applied", [], [])
    seen = (
        "import ascend_patches; ascend_patches.apply_patches(); "
        "import vllm_ascend.patch.worker; from vllm.core import step; print(step(1))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_PATCHES")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (tmp_path / "release", folder, REPOSITORY)))
    done = subprocess.run([sys.executable, "-c", seen], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["8" if wanted == "True" else "1"], done.stderr


@pytest.mark.parametrize(
    ("was", "instead", "said"),
    [
        ("factor=BONUS", "factor=BONUS + 0", "its file holds other code"),
        ("import math", "import cmath, math", "its file holds other code"),
        ("SPEED = 4", "SPEED = 5", "its file holds other code"),
        ("SPEED = 4", "SLOW = 4", "SPEED"),
    ],
)
def test_a_file_that_is_not_what_was_declared_is_seen(tmp_path: Path, was: str, instead: str, said: str) -> None:
    folder = written(tmp_path, RELEASE, FIXED)
    file = folder / "carried_123" / "after" / RUNNER
    file.write_text(file.read_text(encoding="utf-8").replace(was, instead), encoding="utf-8")
    assert said in " ".join(put_in_place(folder, tmp_path)["problems"])


def test_a_name_that_only_carried_code_lacks_is_a_problem_and_one_that_the_release_lacks_is_not(
    tmp_path: Path,
) -> None:
    release = {RUNNER: "import math\n\n\ndef one(x):\n    return x if x else math.gone(missing)\n"}
    fixed = {RUNNER: release[RUNNER].replace("return x if", "return x + 1 if")}
    folder = written(tmp_path, release, fixed)
    assert put_in_place(folder, tmp_path)["problems"] == []
    (folder / "carried_123" / "before" / RUNNER).write_text("def one(x):\n    return x\n", encoding="utf-8")
    assert "math.gone is not there" in " ".join(put_in_place(folder, tmp_path)["problems"])


GONE = {"vllm/core.py": "NEW = 1\n", RUNNER: "from vllm.core import GONE\n\n\ndef one(x):\n    return x\n"}


@pytest.mark.parametrize(
    ("text", "state", "of_release"),
    [
        (GONE[RUNNER], "not importable", True),
        (
            GONE[RUNNER].replace("from vllm.core import GONE", "import os\n\nA = os.environ['NONE']"),
            "not imported",
            False,
        ),
    ],
)
def test_a_module_that_the_release_itself_cannot_import_is_told_apart(
    tmp_path: Path, text: str, state: str, of_release: bool
) -> None:
    release = {**GONE, RUNNER: text}
    folder = written(tmp_path, release, {RUNNER: text.replace("return x", "return x + 1")})
    told = put_in_place(folder, tmp_path)
    assert told["state"] == state, told
    found = proving.in_place(proving.Written("carried-123", {}, ()), told, "")
    assert bool(found.unimportable) is of_release
    assert found.said.startswith("the release itself cannot import vllm_ascend.runner: ImportError: ") is of_release
    assert str(tmp_path) not in found.said


def test_a_name_that_the_release_asks_of_what_stands_in_for_triton_is_there_with_its_devices(tmp_path: Path) -> None:
    stand_in = "import types\n\n\nclass Stand(types.ModuleType):\n    pass\n\n\ntriton = Stand('triton')\n"
    imported = "from vllm.triton_utils import triton\n\n\n"
    release = {
        "vllm/triton_utils/__init__.py": "from vllm.triton_utils.importing import triton\n",
        "vllm/triton_utils/importing.py": stand_in,
        "vllm_ascend/kernels.py": f"{imported}def two(x):\n    return triton.cdiv(x, 2)\n",
        RUNNER: f"{imported}def one(x):\n    return x\n",
    }
    fixed = {RUNNER: release[RUNNER].replace("return x", "return triton.cdiv(x, 3)")}
    folder = written(tmp_path, release, fixed)
    assert put_in_place(folder, tmp_path)["problems"] == []
    (tmp_path / "release" / "vllm_ascend" / "kernels.py").write_text("TWO = 2\n", encoding="utf-8")
    assert "triton.cdiv is not there" in " ".join(put_in_place(folder, tmp_path)["problems"])


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("def f(): pass", "f", True),
        ("async def f(): pass", "f", True),
        ("class A:\n    class B:\n        x = 1", "A.B.x", True),
        ("X: int = 1", "X", True),
        ("X = Y = 1", "Y", True),
        ("(X, Y) = 1, 2", "Y", True),
        ("import a.b", "a", True),
        ("import a.b as c", "c", True),
        ("from a import b as c, d", "d", True),
        ("from a import b as c", "b", False),
        ("x.y = 1", "x", False),
        ("class A:\n    x = 1", "A.y", False),
    ],
)
def test_the_statement_that_binds_a_name_is_found(tmp_path: Path, text: str, path: str, found: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(text, encoding="utf-8")
    assert (in_place.statement_at(file, path) is not None) is found


BASE = "def f(x):\n    a = 1\n    return x\n"
THEIRS = BASE.replace("a = 1", "a = 2")
HERE = BASE.replace("return x", "return x, x")


@pytest.mark.parametrize(
    ("verdict", "before", "text", "same"),
    [
        ("exact", BASE, THEIRS, True),
        ("exact", BASE, THEIRS.replace("2", "3"), False),
        ("exact", HERE, THEIRS, False),
        ("added", "", THEIRS, True),
        ("added", "", BASE, False),
        ("merged", HERE, HERE.replace("a = 1", "a = 2"), True),
        ("merged", HERE, HERE.replace("a = 1", "a = 2; b = 3"), False),
        ("merged", HERE, THEIRS, False),
    ],
)
def test_what_is_carried_has_to_be_upstreams_own_difference(verdict: Any, before: str, text: str, same: bool) -> None:
    definition = Definition("a:f", "a.py", "function", verdict, base=BASE, theirs=THEIRS, before=before, text=text)
    assert (not proving.other_difference(definition)) is same


def test_of_changes_upon_each_other_each_is_compared_upon_the_one_before(tmp_path: Path) -> None:
    steps = (
        ("Begin", {RUNNER: FIRST}),
        ("[BugFix] Widen it (#5)", {RUNNER: SECOND}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    found = carried(tmp_path, clone_of(tmp_path, *steps), {RUNNER: FIRST}, 1)
    assert len(found.steps) == 2
    assert proving.written(found, code(tmp_path / "release", {RUNNER: FIRST})).wrong == ()
    found.steps[-1].carried[-1].text = FIRST
    assert proving.written(found, code(tmp_path / "release", {RUNNER: FIRST})).wrong != ()
