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
    assert ("note", "only PYTHONPATH starts it: -I and -E drop that") in by_path
    assert ("ok", f"sitecustomize that runs: {SITECUSTOMIZE}/sitecustomize.py") in by_path
    environment.install_hook()
    by_file = found(environment.run(ask))
    assert ("ok", f"a fresh {environment.python} starts the toolkit, by .pth") in by_file
    assert not starting_with("note", "only PYTHONPATH", by_file)
    assert starting_with("note", "run ascend-patches uninstall before pip uninstall, which leaves ", by_file)


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
    plugin = {"vllm.general_plugins": "ascend_patches.starting.plugin:activate"}
    world.distribution("ascend-patches", "0.1.0", ["ascend_patches"], plugin)
    assert ("ok", "vLLM loads our plugin in every process") in found(world.command("doctor", "--json"))
    named = world.command("doctor", "--json", env={"VLLM_PLUGINS": "entry,ascend"})
    assert ("ok", "VLLM_PLUGINS=entry,ascend names our plugin; it filters platforms as well") in found(named)
    filtered = world.command("doctor", "--json", env={"VLLM_PLUGINS": "ascend"})
    assert filtered.returncode == 1
    kept_out = "VLLM_PLUGINS=ascend keeps our plugin 'entry' from being loaded; add it to the list"
    assert ("problem", kept_out) in found(filtered)


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


RAY_UNPATCHED = "Ray workers are not patched: PYTHONPATH does not reach them; install the package on every node"


@pytest.fixture
def ray(world: World) -> World:
    """An environment with Ray in it."""
    world.distribution("ray", "2.60.0", ["ray"])
    world.write("ray.py", "")
    return world


def test_without_ray_nothing_is_said_about_it(world: World) -> None:
    assert not any("Ray workers" in what for _, what in found(world.command("doctor", "--json")))


def test_a_path_alone_does_not_reach_ray_workers(ray: World) -> None:
    on_path = ray.python(["-m", "ascend_patches", "doctor", "--json"], path=[SITECUSTOMIZE])
    assert ("note", RAY_UNPATCHED) in found(on_path)


def test_the_plugin_reaches_ray_workers_unless_it_is_filtered_out(ray: World) -> None:
    plugin = {"vllm.general_plugins": "ascend_patches.starting.plugin:activate"}
    ray.distribution("ascend-patches", "0.1.0", ["ascend_patches"], plugin)
    reached = "Ray workers are patched through vLLM's plugin, on every node that has the package"
    assert ("ok", reached) in found(ray.command("doctor", "--json"))
    assert ("note", RAY_UNPATCHED) in found(ray.command("doctor", "--json", env={"VLLM_PLUGINS": "ascend"}))


def test_a_start_hook_reaches_ray_workers(ray: World, environment: Environment) -> None:
    environment.install_hook()
    result = environment.run(["-m", "ascend_patches", "doctor", "--json"], path=[ray.folder])
    assert starting_with("ok", "Ray workers are patched by the start hook", found(result))


@pytest.mark.parametrize(
    ("copied", "left_behind"),
    [
        ({}, ["ASCEND_PATCHES, ASCEND_PATCHES_DISABLE: "]),
        ({"VLLM_RAY_EXTRA_ENV_VARS_TO_COPY": "OTHER,ASCEND_PATCHES"}, ["ASCEND_PATCHES_DISABLE: "]),
        ({"VLLM_RAY_EXTRA_ENV_VAR_PREFIXES_TO_COPY": "ASCEND_PATCHES"}, []),
    ],
    ids=["none is copied", "one is copied", "all are copied"],
)
def test_variables_that_ray_workers_do_not_get_are_named(
    copied: dict[str, str], left_behind: list[str], ray: World
) -> None:
    ours = {"ASCEND_PATCHES": "strict", "ASCEND_PATCHES_DISABLE": "all", "EMULATED_NPU": "1"}
    findings = found(ray.command("doctor", "--json", env={**ours, **copied}))
    said = [what.partition("Ray workers do not get that")[0] for _, what in findings if "workers do not get" in what]
    assert said == left_behind


RUNNING = """
import os, subprocess, vllm.engine
from ascend_patches.declaring import first_call
{change}
first_call.happens()
asked = subprocess.run([sys.executable, "-m", "ascend_patches", "doctor", "--json"], capture_output=True, text=True)
print(json.dumps([os.getpid(), asked.returncode, json.loads(asked.stdout)]))
"""


@pytest.mark.parametrize(
    ("change", "problems"),
    [("", 0), ("vllm.engine.greet = lambda *args: 'theirs'", 1)],
    ids=["as it should be", "overwritten"],
)
def test_what_is_in_place_in_a_process_that_runs_is_shown(
    change: str, problems: int, greeting: World, tmp_path: Path
) -> None:
    code = RUNNING.format(change=change)
    result = greeting.python(code, start=True, env={"ASCEND_PATCHES_REPORT_DIR": str(tmp_path)})
    pid, returncode, findings = result.json
    shown = [finding["what"] for finding in findings if finding["subject"] == "processes"]
    assert returncode == problems
    assert shown[0].startswith(f"1 that run have left reports in {tmp_path}")
    assert [f":{pid}: greeting is overwritten: vllm.engine:greet was" in what for what in shown[1:]] == [
        True
    ] * problems


def test_how_to_see_what_is_in_place_is_said_where_nothing_shows_it(greeting: World) -> None:
    text = "ASCEND_PATCHES_REPORT_DIR is not set: what is in place in a running server is not to be seen from here"
    assert starting_with("note", text, found(greeting.command("doctor", "--json")))
