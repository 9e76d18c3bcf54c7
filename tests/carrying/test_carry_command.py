"""The command: its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from carrying.made_releases import git, write

from ascend_patches.commands import command_line

RUNNER = "vllm_ascend/runner.py"
BEFORE = "def one(x):\n    first = x\n    second = first\n    return second\n"
AFTER = BEFORE.replace("= x", "= x + 1")


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q")
    for text in (BEFORE, AFTER):
        write(folder, {RUNNER: text})
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "[BugFix] Mend it (#7)")
    (tmp_path / "7.patch").write_text(git(folder, "format-patch", "-1", "--stdout"), encoding="utf-8")
    return tmp_path / "7.patch"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    try:
        code = command_line.main(["carry", *map(str, arguments)])
    except SystemExit as stop:
        code = int(str(stop.code))
    return code, capsys.readouterr().out


def test_a_carried_change(tmp_path: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write(tmp_path / "release", {RUNNER: BEFORE})
    code, out = run(capsys, patch, "--onto", release, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["verdict"], told["output"]) == ("carried", None)
    assert told["definitions"] == [
        {"target": "vllm_ascend.runner:one", "file": RUNNER, "verdict": "exact", "reason": ""}
    ]
    assert {each["kind"] for each in told["left_out"]} <= {"other", "tests", "docs"}


def test_a_commit_of_a_clone_and_a_change_that_is_there(
    tmp_path: Path, patch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = write(tmp_path / "release", {RUNNER: AFTER})
    code, out = run(capsys, "--repo", tmp_path / "clone", "HEAD", "--onto", release, "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "already there")


def test_a_conflict_shows_all_sides(tmp_path: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write(tmp_path / "release", {RUNNER: BEFORE.replace("= x", "= x * 3")})
    code, out = run(capsys, "--repo", tmp_path / "clone", "HEAD", "--onto", release)
    assert code == 1
    assert [text in out for text in ("first = x\n", "first = x + 1", "first = x * 3")] == [True, True, True]


def test_a_function_of_a_later_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write(tmp_path / "release", {RUNNER: BEFORE})
    later = write(tmp_path / "later", {RUNNER: AFTER})
    code, out = run(capsys, "--from", later, "vllm_ascend.runner:one", "--onto", release, "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "carried")


def test_all_that_differs_in_a_module_of_a_later_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write(tmp_path / "release", {RUNNER: BEFORE})
    later = write(tmp_path / "later", {RUNNER: f"{AFTER}\n\ndef two(x):\n    return one(x)\n"})
    _, out = run(capsys, "--from", later, "vllm_ascend.runner", "--onto", release, "--json")
    told = {each["target"]: each["verdict"] for each in json.loads(out)["definitions"]}
    assert told == {"vllm_ascend.runner:one": "exact", "vllm_ascend.runner:two": "added"}
    assert run(capsys, "--from", release, "vllm_ascend.runner", "--onto", release, "--json")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("a", "b", "--onto", "x"), ("a", "--repo", ".", "--from", "b")],
)
def test_a_wrong_command_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *arguments)[0] == 2


def test_a_patch_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write(tmp_path / "release", {RUNNER: BEFORE})
    assert run(capsys, tmp_path / "none.patch", "--onto", release)[0] == 1
