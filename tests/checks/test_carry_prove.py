"""carry --prove on the emulated NPU: a change's own tests, without the patch and with it, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from carrying.made_releases import git, write
from support import REPOSITORY

RUNNER = "vllm_ascend/runner.py"
BEFORE = "import torch\n\n\ndef one(x):\n    return torch.ones(x, device='npu').sum().item()\n"
AFTER = BEFORE.replace(".sum()", ".sum().add(1)")
CONFTEST = "import torch_npu\n"
OLD_TEST = """
    from vllm_ascend.runner import one


    def test_another():
        assert one(0) < 5


    def test_two():
        assert one(2) == 2
"""
NEW_TEST = OLD_TEST.replace("one(2) == 2", "one(2) == 3")


def commit(folder: Path, files: Mapping[str, str], subject: str) -> None:
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", subject)


def made(tmp_path: Path, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Path, Path]:
    """A clone with one change after the tag of a release, and that release."""
    clone = tmp_path / "clone"
    clone.mkdir()
    git(clone, "init", "-q", "-b", "main")
    commit(clone, {"tests/conftest.py": CONFTEST, **before}, "Begin")
    git(clone, "tag", "v0.18.0")
    commit(clone, after, "[BugFix] Mend it (#7)")
    product = {path: text for path, text in before.items() if path.startswith("vllm_ascend")}
    return clone, write(tmp_path / "release", product)


def proved(tmp_path: Path, *asked: object) -> tuple[int, dict[str, Any]]:
    """What the command says, with a home of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_PATCHES")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "A_TOKEN": "secret", "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ascend_patches", "carry", *map(str, asked), "--prove", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_tests_that_fail_without_the_patch_and_pass_with_it(tmp_path: Path) -> None:
    clone, release = made(
        tmp_path,
        {RUNNER: BEFORE, "tests/ut/test_runner.py": OLD_TEST},
        {RUNNER: AFTER, "tests/ut/test_runner.py": NEW_TEST},
    )
    code, told = proved(tmp_path, "--repo", clone, "HEAD", "--onto", release, "--output", tmp_path / "written")
    proof = told["proof"]
    assert (code, proof["shown"]) == (0, "proved"), told
    assert "emulated NPU" in proof["device"]
    assert {each["test"].rpartition("::")[2]: (each["before"], each["after"]) for each in proof["tests"]} == {
        "test_another": ("passed", "passed"),
        "test_two": ("failed", "passed"),
    }
    readme = (tmp_path / "written" / "README.md").read_text(encoding="utf-8")
    assert "1 test fails without it and passes with it" in readme


def test_a_patch_file_brings_its_tests_onto_those_of_the_release(tmp_path: Path) -> None:
    clone, release = made(
        tmp_path,
        {RUNNER: BEFORE, "tests/ut/test_runner.py": OLD_TEST},
        {RUNNER: AFTER, "tests/ut/test_runner.py": NEW_TEST},
    )
    (tmp_path / "7.patch").write_text(git(clone, "format-patch", "-1", "--stdout"), encoding="utf-8")
    # An unpacked sdist has the release's tests.
    write(release, {"tests/conftest.py": CONFTEST, "tests/ut/test_runner.py": OLD_TEST})
    (release / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: vllm-ascend\nVersion: 0.18.0\n", encoding="utf-8")
    code, told = proved(tmp_path, "7.patch", "--onto", release)
    assert (code, told["proof"]["fail_before_and_pass_after"]) == (0, 1), told


def test_a_test_that_only_finds_a_name_with_the_patch_proves_less(tmp_path: Path) -> None:
    added = BEFORE.replace("ones(x,", "ones(two(x),") + "\n\ndef two(x):\n    return x\n"
    test = "def test_two():\n    from vllm_ascend.runner import two\n\n    assert two(2) == 2\n"
    clone, release = made(tmp_path, {RUNNER: BEFORE}, {RUNNER: added, "tests/ut/test_two.py": test})
    code, told = proved(tmp_path, "--repo", clone, "HEAD", "--onto", release)
    assert (code, told["proof"]["shown"]) == (1, "only names missing before"), told
    assert told["proof"]["only_names_missing_before"] == 1


def test_what_gets_worse_is_not_written(tmp_path: Path) -> None:
    clone, release = made(
        tmp_path,
        {RUNNER: BEFORE, "tests/ut/test_runner.py": OLD_TEST},
        {RUNNER: AFTER, "tests/ut/test_runner.py": OLD_TEST + "\n\n    def test_more():\n        assert one(1) == 2\n"},
    )
    code, told = proved(tmp_path, "--repo", clone, "HEAD", "--onto", release, "--output", tmp_path / "written")
    assert (code, told["proof"]["shown"], told["output"]) == (1, "worse", None), told
    assert not (tmp_path / "written").exists()


def test_what_tests_write_at_home_goes_with_them_and_they_are_given_no_secrets(tmp_path: Path) -> None:
    test = """
        import os
        from pathlib import Path

        from vllm_ascend.runner import one


        def test_two():
            assert "A_TOKEN" not in os.environ
            Path.home().joinpath("left").touch()
            Path("left").touch()
            assert one(2) == 3
    """
    clone, release = made(tmp_path, {RUNNER: BEFORE}, {RUNNER: AFTER, "tests/ut/test_runner.py": dedent(test)})
    code, _ = proved(tmp_path, "--repo", clone, "HEAD", "--onto", release)
    assert code == 0
    assert not list(tmp_path.rglob("left"))
