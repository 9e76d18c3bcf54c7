"""What is released: wheel and sdist of both distributions, built, installed and asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from support import REPOSITORY

DISTRIBUTIONS = {"ascend_patches": REPOSITORY, "emulated_npu": REPOSITORY / "emulated_npu"}
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
PLATFORMS = "vllm.platform_plugins"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The sdist and the wheel of each distribution, by its package's name."""
    folder = tmp_path_factory.mktemp("release")
    left_out = shutil.ignore_patterns(".*", "build", "dist", "tests", "*.egg-info", "__pycache__")
    sources = shutil.copytree(REPOSITORY, folder / "repository", ignore=left_out)
    made = {}
    for name, project in DISTRIBUTIONS.items():
        cwd = sources / project.relative_to(REPOSITORY)
        made[name] = (built("build_sdist", cwd, folder / "dist"), built("build_wheel", cwd, folder / "dist"))
    return made


def built(what: str, project: Path, folder: Path) -> Path:
    command = [sys.executable, "-W", "ignore", "-c", BUILD, what, str(folder)]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder / ran.stdout.splitlines()[-1]


def files_of(archive: Path) -> set[str]:
    """The files in an archive; those of an sdist without the folder that all of them are in."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as packed:
        return {name.partition("/")[2] for name in packed.getnames()}


def installed(archive: Path, folder: Path) -> Path:
    """A folder with the distribution that an archive holds."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(folder), str(archive)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sdist_and_wheel_install_the_same_files(
    name: str, released: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    sides = [installed(archive, tmp_path / archive.suffix.strip(".")) for archive in released[name]]
    one, other = ({str(path.relative_to(side)) for path in (side / name).rglob("*.*")} for side in sides)
    assert {path for path in one ^ other if "__pycache__" not in path} == set()
    assert f"{name}/py.typed" in one


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_licence_goes_with_every_archive(name: str, released: dict[str, tuple[Path, Path]]) -> None:
    for archive in released[name]:
        assert any(Path(file).name == "LICENSE" for file in files_of(archive)), archive


def test_a_production_installation_has_no_emulated_npu_and_registers_no_platform(
    released: dict[str, tuple[Path, Path]],
) -> None:
    _, wheel = released["ascend_patches"]
    assert not any(file.startswith("emulated_npu") for file in files_of(wheel))
    assert PLATFORMS not in entry_points(wheel)
    assert entry_points(released["emulated_npu"][1])[PLATFORMS]


def entry_points(wheel: Path) -> ConfigParser:
    parsed = ConfigParser()
    with zipfile.ZipFile(wheel) as packed:
        (file,) = (name for name in packed.namelist() if name.endswith(".dist-info/entry_points.txt"))
        parsed.read_string(packed.read(file).decode())
    return parsed
