"""What is written: a distribution that is found, applied, reverted, and the same whenever it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from carrying.made_releases import carried, change, code, write
from support import REPOSITORY

from ascend_patches.carrying import onto, writing
from ascend_patches.errors import CarryError

RUNNER = "vllm_ascend/runner.py"
STEPS = "vllm_ascend/steps.py"
RELEASE = {
    RUNNER: """
        from vllm_ascend.steps import step

        LIMIT = 2


        class Base:
            def size(self):
                return 1


        class Runner(Base):
            SPEED = 3

            def size(self):
                return 0

            def run(self):
                return step(self.size())
    """,
    STEPS: """
        def step(count):
            return count
    """,
    "vllm_ascend/other.py": "from vllm_ascend.steps import step\n",
    "vllm_ascend/patch/worker/patch_core.py": """
        from vllm.core import Core


        def _go(self):
            return "release"


        Core.go = _go
    """,
    "vllm/core.py": """
        class Core:
            def go(self):
                return "vllm"
    """,
}
FIXED = {
    RUNNER: """
        import math

        from vllm_ascend.steps import BONUS, step

        LIMIT = 2


        def extra(value, factor=BONUS):
            return math.floor(value) * factor


        class Base:
            def size(self):
                return 1


        class Runner(Base):
            SPEED = 4

            def size(self):
                return super().size() + extra(1.5)

            def run(self):
                return step(self.size(), LIMIT)
    """,
    STEPS: """
        BONUS = 10


        def step(count, more):
            return count + more
    """,
    "vllm_ascend/other.py": "from vllm_ascend.steps import step\n",
    "vllm_ascend/patch/worker/patch_core.py": RELEASE["vllm_ascend/patch/worker/patch_core.py"].replace(
        '"release"', '"carried"'
    ),
}
LOOK = """
    import inspect, json, sys
    import ascend_patches
    ascend_patches.apply_patches()
    import vllm_ascend.runner as runner, vllm_ascend.other as other, vllm_ascend.steps as steps
    import vllm_ascend.patch.worker.patch_core
    from vllm.core import Core

    def seen():
        return {
            "run": runner.Runner().run(), "speed": runner.Runner.SPEED, "go": Core().go(),
            "other": len(inspect.signature(other.step).parameters),
            "names": sorted(set(vars(runner)) & {"math", "extra", "BONUS"}), "bonus": hasattr(steps, "BONUS"),
        }

    told = {"applied": seen(), "states": {p["name"]: p for p in ascend_patches.status()["patches"]}}
    told["file"] = inspect.getsourcefile(runner.Runner.size)
    ascend_patches.revert_patches("carried-123")
    told["reverted"] = seen()
    print(json.dumps(told))
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    release = code(tmp_path / "release", RELEASE)
    result = onto.carry(change({path: RELEASE[path] for path in FIXED}, FIXED), release)
    assert result.verdict == "carried", [each.as_json() for each in result.definitions]
    folder = tmp_path / "written"
    writing.write(result, release, str(folder), "carried-123")
    return folder


def run(folder: Path, release: Path, tmp_path: Path) -> dict[str, Any]:
    """What a process sees that has the release and the distribution on its path."""
    metadata = folder / "carried_123-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: carried-123\nVersion: 0.1.0\n", encoding="utf-8")
    entry = "[ascend_patches.patches]\ncarried_123 = carried_123:PATCH\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_PATCHES")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (release, folder, REPOSITORY)))
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOOK)], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert not done.returncode, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_it_is_applied_as_a_whole_and_reverted_to_the_letter(tmp_path: Path, written: Path) -> None:
    told = run(written, tmp_path / "release", tmp_path)
    assert told["states"]["carried-123"]["state"] == "applied", told["states"]["carried-123"]
    assert told["applied"] == {
        "run": 13,
        "speed": 4,
        "go": "carried",
        "other": 2,
        "names": ["BONUS", "extra", "math"],
        "bonus": True,
    }
    assert told["file"] == str(written / "carried_123" / "after" / RUNNER)
    assert told["reverted"] == {"run": 0, "speed": 3, "go": "release", "other": 1, "names": [], "bonus": False}


def test_a_release_that_has_it_already_is_left_alone(tmp_path: Path, written: Path) -> None:
    fixed = write(tmp_path / "fixed", {**RELEASE, **FIXED})
    told = run(written, fixed, tmp_path)
    state = told["states"]["carried-123"]
    assert (state["state"], "native" in state["reason"]) == ("skipped", True), state
    assert told["reverted"] == told["applied"]


def test_other_code_is_left_alone(tmp_path: Path, written: Path) -> None:
    other = {**RELEASE, STEPS: RELEASE[STEPS].replace("return count", "return count + 0")}
    told = run(written, write(tmp_path / "other", other), tmp_path)
    assert told["states"]["carried-123"]["state"] == "skipped"
    assert told["applied"]["go"] == "release"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    release = code(tmp_path / "again", RELEASE)
    result = onto.carry(change({path: RELEASE[path] for path in FIXED}, FIXED), release)
    again = writing.contents(result, release, "carried-123")
    assert again == {
        str(file.relative_to(written)): file.read_text(encoding="utf-8")
        for file in written.rglob("*")
        if file.is_file()
    }


def test_the_files_hold_the_definitions_only_with_their_own_indentation(written: Path) -> None:
    after = (written / "carried_123" / "after" / STEPS).read_text(encoding="utf-8")
    assert after == "BONUS = 10\n\n\ndef step(count, more):\n    return count + more\n"


def test_a_readme_says_where_it_comes_from(written: Path) -> None:
    text = (written / "README.md").read_text(encoding="utf-8")
    assert [part in text for part in ("Mend it (#123)", "person@example.org", "vllm-ascend 0.18.0")] == [True] * 3


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path, written: Path) -> None:
    release = code(tmp_path / "again", RELEASE)
    result = onto.carry(change({path: RELEASE[path] for path in FIXED}, FIXED), release)
    with pytest.raises(CarryError, match="there already"):
        writing.write(result, release, str(written), "carried-123")


@pytest.mark.parametrize("name", ["all", "Upper", "two words", "../up", ""])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    before = "def one(x):\n    return x\n\n\ndef two():\n    return one(1)\n"
    result = carried(tmp_path, {RUNNER: before}, {RUNNER: before}, {RUNNER: before.replace("return x", "return x + 1")})
    with pytest.raises(CarryError, match="--name"):
        writing.patch_name(result, name)
