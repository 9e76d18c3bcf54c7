"""The tests of a change: which files they are, their text on the release, and what the results are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from carrying.made_releases import change, git, write

from ascend_patches.carrying import own_tests
from ascend_patches.carrying.own_tests import TreeOfTests
from ascend_patches.carrying.proven import OneTest, Proof, in_readme
from ascend_patches.commands import command_line, prove
from ascend_patches.errors import AscendPatchesError, CarryError

RUNNER = "vllm_ascend/runner.py"
TEST = "tests/ut/test_runner.py"
OLD = "from vllm_ascend.runner import one\n\n\ndef test_one():\n    assert one(1) == 1\n"
NEW = OLD.replace("== 1", "== 2") + "\n\ndef test_more():\n    assert one(2) == 3\n"
LATER = "\n\ndef test_of_a_later_feature():\n    assert False\n"


def tree(files: dict[str, str]) -> TreeOfTests:
    return TreeOfTests(tuple(files), files.get, "here")


def test_the_test_files_of_a_change_and_what_is_around_them() -> None:
    made = change({TEST: OLD}, {TEST: NEW, "tests/ut/base.py": "HELP = 2\n", "docs/a.md": "x\n"})
    found = own_tests.of_change(made, tree({TEST: OLD, "tests/ut/base.py": "HELP = 1\n", "tests/ut/test_other.py": ""}))
    assert [file.path for file in found.files] == [TEST]
    assert found.around == {"tests/ut/base.py": "HELP = 2\n"}


def test_later_tests_of_a_file_are_not_in_the_way_of_the_releases_own() -> None:
    made = change({TEST: OLD + LATER}, {TEST: NEW + LATER})
    (file,) = own_tests.of_change(made, tree({TEST: OLD})).files
    assert ["later_feature" in text for text in file.texts] == [True, False]
    assert ["test_more" in text and "== 2" in text for text in file.texts] == [True, True]


def test_what_is_around_them_upstream_is_known_where_it_is_another_text() -> None:
    base = {"tests/ut/base.py": "HELP = 2\n", "tests/ut/x.py": "X = 1\n"}
    made = replace(change({TEST: OLD}, {TEST: NEW}), base=base.get)
    found = own_tests.of_change(made, tree({TEST: OLD, "tests/ut/base.py": "HELP = 1\n", "tests/ut/x.py": "X = 1\n"}))
    assert (found.around["tests/ut/base.py"], found.around_upstream) == (
        "HELP = 1\n",
        {"tests/ut/base.py": "HELP = 2\n"},
    )


def test_a_change_without_tests_is_refused() -> None:
    with pytest.raises(CarryError, match="no tests in this change"):
        own_tests.of_change(change({RUNNER: "A = 1\n"}, {RUNNER: "A = 2\n"}), tree({}))


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("failed", "passed", "proved"),
        ("name missing", "passed", "only names missing before"),
        ("not collected", "passed", "only names missing before"),
        ("passed", "passed", "not proved"),
        ("failed", "failed", "not proved"),
        ("passed", "failed", "worse"),
    ],
)
def test_what_one_test_shows(before: str, after: str, shown: str) -> None:
    assert Proof((OneTest("t", before, after),)).shown == shown


def test_a_test_that_gets_worse_outweighs_all_that_are_mended() -> None:
    tests = (OneTest("a", "failed", "passed"), OneTest("b", "passed", "failed"))
    assert Proof(tests).shown == "worse"


def test_nothing_is_proved_by_a_patch_that_was_not_in_place() -> None:
    assert Proof((OneTest("a", "failed", "passed"),), in_place=False).shown == "not proved"


def test_the_words_of_a_proof() -> None:
    tests = [OneTest(name, "failed", "passed") for name in "abc"] + [OneTest("d", "not collected", "passed")]
    assert Proof(tuple(tests)).sentences == [
        "3 tests fail without it and pass with it",
        "1 test finds a name only with it, and passes: that proves less",
    ]


def test_a_readme_says_how_to_prove_and_what_was_shown() -> None:
    proof = Proof((OneTest("t.py::a", "failed", "passed"),), device="emulated NPU")
    assert "ascend-patches carry X --prove" in in_readme(None, "ascend-patches carry X --prove", has_tests=True)
    assert any("1 test fails without it" in line for line in in_readme(proof, "c", has_tests=True))
    assert "no tests of its own" in in_readme(None, "c", has_tests=False)[0]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for text in ("def one(x):\n    return x\n", "def one(x):\n    return x + 1\n"):
        write(folder, {RUNNER: text})
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "[BugFix] Mend it (#7)")
    return folder


def test_what_is_missing_is_said_before_anything_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prove.distributions, "has_module", lambda name: name not in ("torch", "torch_npu"))
    code = command_line.main(["carry", "--repo", str(tmp_path / "none"), "HEAD", "--onto", "nowhere==1", "--prove"])
    assert (code, "torch is not installed" in capsys.readouterr().err) == (1, True)
    monkeypatch.setattr(prove.distributions, "has_module", lambda name: name != "pytest")
    with pytest.raises(AscendPatchesError, match="pytest is not installed"):
        prove.need_tools()


def test_a_change_without_tests_is_carried_and_not_proved(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prove, "need_tools", lambda: None)
    release = write(tmp_path / "release", {RUNNER: "def one(x):\n    return x\n"})
    asked = ["carry", "--repo", str(clone), "HEAD", "--onto", str(release), "--prove", "--json"]
    code = command_line.main([*asked, "--output", str(tmp_path / "written")])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["verdict"], told["proof"]["shown"]) == (1, "carried", "not proved")
    assert "no tests in this change" in told["proof"]["problems"][0]
    assert "no tests of its own" in (tmp_path / "written" / "README.md").read_text(encoding="utf-8")
