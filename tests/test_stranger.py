"""A stranger's patch, written from the README alone, in a fresh environment that the built wheel is installed into."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, Environment, Result, clean_environ, run

EXAMPLE = REPOSITORY / "examples" / "toy-encoder-patches" / "toy_encoder_patches.py"
NAME = "toy-segment-lengths"
SOURCES = (
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "ascend_patches_start.py",
    "ascend_patches",
    "examples",
)
SHOW = """
import json, toy_encoder, ascend_patches
patches = {patch["name"]: patch for patch in ascend_patches.status()["patches"]}
print(json.dumps([
    toy_encoder.encode([0, 3, 5, 9]),
    toy_encoder.Attention.lengths.__code__.co_filename.endswith("toy_encoder_patches.py"),
    patches.get("toy-segment-lengths", {}).get("state"),
    ascend_patches.status()["activated_by"],
]))
"""
"""What the stand-in answers, whether the replacement does it, and what the report says."""


def pip(*arguments: str | Path) -> None:
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *arguments, *options], check=True, env=clean_environ(()), timeout=300)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what wheels are built from: building leaves things behind."""
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        place = REPOSITORY / name
        if place.is_dir():
            shutil.copytree(place, sources / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, sources)
    return sources


@pytest.fixture(scope="module")
def wheels(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the toolkit, of a package to patch, and of a stranger's patch for it."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = [sources, *(sources / "examples" / name for name in ("toy-encoder", "toy-encoder-patches"))]
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, *projects)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with these wheels; what the toolkit requires is seen where the tests have it."""
    environment = Environment(tmp_path_factory.mktemp("stranger") / "venv", with_toolkit=False)
    pip("--python", environment.python, "install", *wheels)
    environment.see(sysconfig.get_path("purelib"))
    return environment


@pytest.fixture
def stranger(installed: Environment) -> Environment:
    """The same, without a start hook."""
    command(installed, "uninstall")
    return installed


def command(environment: Environment, *arguments: str | Path, **env: str) -> Result:
    """The installed ascend-patches command."""
    environ = clean_environ((), env)
    del environ["PYTHONPATH"]
    return run([environment.folder / "bin" / "ascend-patches", *arguments], env=environ)


# What is in the wheel


def test_the_patch_of_the_readme_is_the_example_and_has_less_than_thirty_lines() -> None:
    code = EXAMPLE.read_text(encoding="utf-8")
    assert code in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(code.splitlines()) < 30


def test_the_wheel_has_every_file_of_the_package_and_the_start_module_twice(wheels: list[Path], sources: Path) -> None:
    (wheel,) = (file for file in wheels if file.name.startswith("ascend_patches-"))
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        start = packed.read("ascend_patches_start.py")
        assert packed.read("ascend_patches/starting/sitecustomize/sitecustomize.py") == start
    wanted = {
        file.relative_to(sources).as_posix()
        for file in (sources / "ascend_patches").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - names == set()


def test_installing_alone_starts_nothing(stranger: Environment) -> None:
    assert stranger.run(SHOW).json == [[3, 2, 4], False, None, None]


# The three ways in


def test_the_start_hook_applies_it(stranger: Environment) -> None:
    assert command(stranger, "install").returncode == 0
    assert stranger.run(SHOW).json == [[3, 2, 4], True, "applied", ".pth"]


def test_the_path_applies_it_for_one_command(stranger: Environment) -> None:
    result = command(stranger, "run", "--", stranger.python, "-c", SHOW)
    assert result.json == [[3, 2, 4], True, "applied", "sitecustomize"]


def test_the_plugin_as_vllm_loads_it_applies_it(stranger: Environment) -> None:
    load = (
        "from importlib.metadata import entry_points\n"
        "for plugin in entry_points(group='vllm.general_plugins'):\n    plugin.load()()\n"
    )
    assert stranger.run(load + SHOW).json == [[3, 2, 4], True, "applied", "vllm plugin"]


def test_the_function_applies_it_before_and_after_the_import(stranger: Environment) -> None:
    apply = "import ascend_patches\nascend_patches.apply_patches()\n"
    for code in (apply + SHOW, "import toy_encoder\n" + apply + SHOW):
        assert stranger.run(code).json == [[3, 2, 4], True, "applied", "apply_patches()"]


# Switched, reverted, reported


@pytest.mark.parametrize(("versions", "state"), [(">=1.4,<1.5", "skipped"), (">=1.5", "applied")])
def test_it_is_switched_off_by_version(versions: str, state: str, stranger: Environment, tmp_path: Path) -> None:
    command(stranger, "install")
    (settings := tmp_path / "patches.toml").write_text(
        f"[[patches.{NAME}.override]]\nwhen = {{ toy-encoder = '{versions}' }}\nenabled = false\n"
    )
    result = stranger.run(SHOW, env={"ASCEND_PATCHES_CONFIG": str(settings)})
    assert result.json[1:3] == [state == "applied", state]


def test_it_is_reverted(stranger: Environment) -> None:
    code = (
        f"import toy_encoder, ascend_patches\nascend_patches.apply_patches()\nascend_patches.revert_patches({NAME!r})\n"
    )
    assert stranger.run(code + SHOW).json[1:3] == [False, "reverted"]


def test_it_is_reported_by_every_command(stranger: Environment, tmp_path: Path) -> None:
    listed = json.loads(command(stranger, "list", "--json").stdout)
    assert [patch["enabled"] for patch in listed if patch["name"] == NAME] == [True]
    assert "here              would be applied" in command(stranger, "explain", NAME).stdout
    assert f"+++ {NAME} toy_encoder.attention:Attention.lengths" in command(stranger, "diff", NAME).stdout
    target = "toy_encoder.attention:Attention.lengths"
    assert command(stranger, "fingerprint", target).stdout.strip() in EXAMPLE.read_text(encoding="utf-8")
    command(stranger, "run", "--report-dir", tmp_path, "--", stranger.python, "-c", "import toy_encoder")
    row = next(line for line in command(stranger, "status", "--dir", tmp_path).stdout.splitlines() if NAME in line)
    assert " applied " in row
