"""doctor: what it finds in order, what it notes, and what it calls a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import SITECUSTOMIZE, Environment, Result, World

Found = set[tuple[str, str]]


def found(result: Result) -> Found:
    """Level and text of every finding."""
    return {(finding["level"], finding["what"]) for finding in result.json_document}


def starting_with(level: str, text: str, findings: Found) -> bool:
    return any(each == level and what.startswith(text) for each, what in findings)


def test_a_world_where_nothing_is_wrong_is_zero(greeting: World) -> None:
    result = greeting.command("doctor", "--json")
    assert result.returncode == 0
    findings = found(result)
    assert ("ok", "vllm 0.15.0, from vllm-0.15.0.dist-info") in {
        (level, what.removeprefix("version ")) for level, what in findings
    }
    assert ("note", "no start hook; vLLM's plugin or apply_patches() has to activate") in findings
    assert ("ok", "mode on, from the declared defaults (no file found)") in findings
    assert ("ok", "1 of 1 patches are on: greeting") in findings
    assert "problem" not in {level for level, _ in findings}


def test_as_text_it_is_a_table_of_the_same(greeting: World) -> None:
    result = greeting.command("doctor")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].split() == ["subject", "finding"]
    assert "1 of 1 patches are on: greeting" in result.stdout


def test_the_way_of_starting_is_tried_out_to_the_second_generation(environment: Environment) -> None:
    ask = ["-m", "ascend_patches", "doctor", "--json"]
    by_path = found(environment.run(ask, path=[SITECUSTOMIZE]))
    assert ("ok", f"a fresh {environment.python} starts the toolkit, by sitecustomize") in by_path
    assert starting_with("note", "only PYTHONPATH starts it: Ray workers do not get that", by_path)
    assert ("ok", f"sitecustomize that runs: {SITECUSTOMIZE}/sitecustomize.py") in by_path
    environment.install_hook()
    by_file = found(environment.run(ask))
    assert ("ok", f"a fresh {environment.python} starts the toolkit, by .pth") in by_file
    assert not starting_with("note", "only PYTHONPATH", by_file)


def test_a_sitecustomize_of_somebody_else_is_named(environment: Environment, world: World) -> None:
    file = world.write("sitecustomize.py", "")
    result = environment.run(["-m", "ascend_patches", "doctor", "--json"], path=[world.folder])
    assert ("ok", f"sitecustomize that runs: {file}") in found(result)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# theirs\n", "{file}: is not a start hook of this toolkit"),
        ("# ascend-patches start hook\n", "{file} is of another version; run: ascend-patches install"),
    ],
    ids=["foreign", "outdated"],
)
def test_a_start_hook_that_is_not_this_versions_is_a_problem(text: str, problem: str, environment: Environment) -> None:
    file = environment.site_packages / "ascend_patches.pth"
    file.write_text(text)
    result = environment.run(["-m", "ascend_patches", "doctor", "--json"])
    assert result.returncode == 1
    assert starting_with("problem", problem.format(file=file), found(result))


def test_off_is_noted(environment: Environment) -> None:
    environment.install_hook()
    result = environment.run(["-m", "ascend_patches", "doctor", "--json"], env={"ASCEND_PATCHES": "off"})
    assert ("note", "ASCEND_PATCHES=off: nothing starts the toolkit") in found(result)
    assert result.returncode == 0


def test_every_mistake_in_the_settings_is_a_problem(greeting: World) -> None:
    settings = greeting.settings("mode = 'onn'\nnonsense = 1\n")
    result = greeting.command("doctor", "--json", "--config", settings)
    assert result.returncode == 1
    for line in (1, 2):
        assert starting_with("problem", f"{settings}, line {line}: ", found(result))


def test_patches_that_cannot_be_loaded_are_a_problem(greeting: World) -> None:
    greeting.patches("1 / 0\n", module="broken_patches")
    result = greeting.command("doctor", "--json")
    assert result.returncode == 1
    assert starting_with("problem", "the patches of broken-patches (entry point", found(result))


def test_a_package_whose_version_is_unknown_is_a_problem(world: World) -> None:
    world.package("vllm", {}, version=None)
    result = world.command("doctor", "--json")
    assert result.returncode == 1
    assert starting_with("problem", "vllm unknown, from ", found(result))


def test_what_is_not_installed_and_what_is_overridden_is_noted(world: World) -> None:
    assert ("note", "vllm is not installed in this environment") in found(world.command("doctor", "--json"))
    overridden = found(world.command("doctor", "--json", env={"VLLM_VERSION": "0.15.0"}))
    assert ("note", "VLLM_VERSION=0.15.0 overrides the version that gates see") in overridden


def test_the_plugin_is_there_when_the_package_is_installed_and_may_be_filtered_out(world: World) -> None:
    missing = "vLLM does not see our plugin: the package is not installed, only on the path"
    assert ("note", missing) in found(world.command("doctor", "--json"))
    plugin = {"vllm.general_plugins": "ascend_patches.plugin:activate"}
    world.distribution("ascend-patches", "0.1.0", ["ascend_patches"], plugin)
    assert ("ok", "vLLM loads our plugin in every process") in found(world.command("doctor", "--json"))
    named = world.command("doctor", "--json", env={"VLLM_PLUGINS": "entry,ascend"})
    assert ("ok", "VLLM_PLUGINS=entry,ascend names our plugin; it filters platforms as well") in found(named)
    filtered = world.command("doctor", "--json", env={"VLLM_PLUGINS": "ascend"})
    assert filtered.returncode == 1
    assert ("problem", "VLLM_PLUGINS=ascend keeps our plugin 'entry' from being loaded") in found(filtered)


def test_a_directory_for_reports_is_tried_out(world: World, tmp_path: Path) -> None:
    for folder, level, word in (
        (tmp_path, "ok", "can"),
        (tmp_path / "to be made", "ok", "can"),
        (tmp_path / "missing" / "below", "ok", "can"),
        (Path(os.devnull) / "below", "problem", "cannot"),
    ):
        result = world.command("doctor", "--json", env={"ASCEND_PATCHES_REPORT_DIR": str(folder)})
        expected = f"ASCEND_PATCHES_REPORT_DIR={folder} {word} be written by this user"
        assert (level, expected) in found(result), folder
