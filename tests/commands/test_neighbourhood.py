"""doctor and report: other software in the same process, and what can be pasted into an issue."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import World

TARGET = "vllm.engine:Engine.greet"
THEIRS = {
    "verl": "from vllm.engine import Engine\nEngine.greet = None\n",
    "ucm": "import vllm.engine\nvllm.engine.Engine.greet = lambda self: 1\n",
    "ascend_vllm": "from vllm.engine import Engine\nsetattr(Engine, 'greet', None)\n",
}


@pytest.fixture
def engine(world: World) -> World:
    world.package("vllm", {"engine": "class Engine:\n    def greet(self): return 1\n"}, version="0.18.0")
    world.patch("greeting", {TARGET: "greet"}, "def greet(self): return 2\n")
    return world


@pytest.mark.parametrize("neighbour", THEIRS)
def test_a_neighbour_that_replaces_a_target_of_ours_is_named_with_file_and_line(neighbour: str, engine: World) -> None:
    engine.package(neighbour, {"vllm_patches.install": THEIRS[neighbour]}, version="1.2")
    shown = engine.command("doctor").stdout
    assert f"replaces {TARGET} as well, in {engine.folder}/{neighbour}/vllm_patches/install.py, line 2" in shown
    assert "see greeting in status" in shown


def test_a_neighbour_that_touches_no_target_of_ours_is_named_with_what_to_do(engine: World) -> None:
    engine.package("swift", {"": "raise SystemExit(9)", "llm": "class Engine:\n    greet = 1\n"}, version="3.0")
    shown = engine.command("doctor").stdout
    assert "ms-swift (3.0) replaces functions of vLLM" in shown
    assert "as well, in" not in shown


def test_other_plugins_of_vllm_are_named_in_their_order(engine: World) -> None:
    engine.distribution("theirs", "1.0", ["theirs"], {"vllm.general_plugins": "theirs:register"})
    assert "vLLM loads other plugins as well: entry (of theirs)" in engine.command("doctor").stdout


def test_no_neighbour_is_found_where_there_is_none(engine: World) -> None:
    found = engine.command("doctor", "--json").json_document
    assert [one for one in found if one["subject"] == "neighbours" and "replaces" in one["what"]] == []


def test_a_report_has_what_an_issue_needs_and_no_secret(engine: World, tmp_path: Path) -> None:
    settings = engine.settings("[patches.greeting]\nenabled = true\n# a comment\n")
    env = {
        "VLLM_API_KEY": "sk-12345678901234567890",
        "ASCEND_PATCHES_CONFIG": settings,
        "HOME": str(tmp_path),
        "ASCEND_TOOLKIT_HOME": str(tmp_path / "cann"),
    }
    (tmp_path / "cann").mkdir()
    (tmp_path / "cann" / "version.cfg").write_text("[Version]\nVersion=8.3.RC1\n")
    result = engine.command("report", env=env)
    assert result.returncode == 0, result.stderr
    for part in ("vllm 0.18.0", "CANN: 8.3.RC1", "VLLM_API_KEY=***", "enabled = true", "greeting  waiting", "```"):
        assert part in result.stdout, part
    assert "sk-1234" not in result.stdout
    assert "a comment" not in result.stdout
    data = engine.command("report", "--json", env=env).json_document
    assert (data["mode"], data["patches"][0][:2]) == ("on", ["greeting", "waiting"])


def test_a_report_has_the_processes_of_a_folder(engine: World, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    engine.python("import vllm.engine", start=True, env={"ASCEND_PATCHES_REPORT_DIR": str(folder)})
    assert "greeting  applied" in engine.command("report", "--dir", str(folder)).stdout
    missing = engine.command("report", "--dir", str(tmp_path / "none"))
    assert (missing.returncode, "cannot be read" in missing.stdout) == (0, True)
