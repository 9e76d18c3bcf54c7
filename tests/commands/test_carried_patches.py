"""check and compare: what a carried patch would do on a release, and where it is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from carrying.installed import command, installed
from carrying.made_releases import write
from carrying.test_written import FIXED, RELEASE, STEPS


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return installed(tmp_path, RELEASE, FIXED, "mend-it")


def checked(environment: dict[str, str], folder: Path, release: Path) -> dict[str, Any]:
    told = json.loads(command(environment, folder, "check", release, "--json").stdout)
    return next(each for each in told["patches"] if each["name"] == "mend-it")


def test_a_carried_patch_that_changes_signatures_would_be_applied(environment: dict[str, str], tmp_path: Path) -> None:
    told = checked(environment, tmp_path, tmp_path / "release")
    assert (told["outcome"], told["carried"]) == ("applied", True), told
    assert "mend-it" in told["from"]
    shown = command(environment, tmp_path, "check", tmp_path / "release").stdout
    assert "mend-it: carried from upstream, from mend-it" in shown


def test_a_release_that_has_the_change_is_native(environment: dict[str, str], tmp_path: Path) -> None:
    fixed = write(tmp_path / "fixed", {**RELEASE, **FIXED})
    assert checked(environment, tmp_path, fixed)["outcome"] == "native"


def test_other_code_would_be_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    other = {**RELEASE, STEPS: RELEASE[STEPS].replace("return count", "return count + 0")}
    assert checked(environment, tmp_path, write(tmp_path / "other", other))["outcome"] == "changed"


def test_a_name_that_is_there_already_is_foreseen(environment: dict[str, str], tmp_path: Path) -> None:
    runner = "vllm_ascend/runner.py"
    other = {**RELEASE, runner: RELEASE[runner] + "\n\n        def extra(value):\n            return value\n"}
    told = checked(environment, tmp_path, write(tmp_path / "other", other))
    assert (told["outcome"], "there already" in told["reason"]) == ("failed", True), told


def test_an_upgrade_by_which_a_carried_patch_may_go(environment: dict[str, str], tmp_path: Path) -> None:
    fixed = write(tmp_path / "fixed", {**RELEASE, **FIXED})
    told = json.loads(command(environment, tmp_path, "compare", "here", fixed, "--json").stdout)
    (row,) = [each for each in told["patches"] if each["name"] == "mend-it"]
    assert (row["outcome"], row["carried"]) == (["applied", "native"], True), row
    assert "carried from upstream" in command(environment, tmp_path, "compare", "here", fixed).stdout
