"""The toolkit and the emulated NPU are two distributions: what each contains, and what a production install lacks."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, Environment, clean_environ, run

EMULATED_NPU = REPOSITORY / "emulated_npu"
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "tests", "*.egg-info", "__pycache__")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


def built(project: Path, folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a project."""
    for kind in ("wheel", "sdist"):
        command: list[str | Path] = [sys.executable, "-c", BUILD.format(kind), folder]
        subprocess.run(command, cwd=project, check=True, capture_output=True, env=clean_environ(()), timeout=300)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build from: building leaves things behind."""
    folder = tmp_path_factory.mktemp("sources") / "repository"
    shutil.copytree(REPOSITORY, folder, ignore=LEFT_OUT)
    return folder


@pytest.fixture(scope="module")
def toolkit(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(sources, tmp_path_factory.mktemp("toolkit"))


@pytest.fixture(scope="module")
def emulated(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(sources / "emulated_npu", tmp_path_factory.mktemp("emulated"))


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def entry_points(wheel: Path) -> dict[str, list[str]]:
    (text,) = (data.decode() for name, data in content(wheel).items() if name.endswith("/entry_points.txt"))
    parser = configparser.ConfigParser(delimiters="=")
    parser.read_string(text)
    return {group: list(parser[group]) for group in parser.sections()}


# What each contains


def test_the_wheel_of_the_toolkit_contains_nothing_of_the_emulated_npu(toolkit: tuple[Path, Path]) -> None:
    assert {name.partition("/")[0] for name in content(toolkit[0])} == {
        "ascend_patches",
        "ascend_patches_start.py",
        next(name.partition("/")[0] for name in content(toolkit[0]) if ".dist-info" in name),
    }


def test_the_toolkit_neither_requires_the_emulated_npu_nor_registers_its_platform(toolkit: tuple[Path, Path]) -> None:
    (metadata,) = (data.decode() for name, data in content(toolkit[0]).items() if name.endswith("/METADATA"))
    assert not re.search(r"^Requires-Dist: emulated", metadata, re.MULTILINE)
    assert "vllm.platform_plugins" not in entry_points(toolkit[0])


def test_the_wheel_of_the_emulated_npu_has_every_file_of_the_package(
    emulated: tuple[Path, Path], sources: Path
) -> None:
    folder = sources / "emulated_npu"
    kept = {".py", ".json", ".typed", ".cpp", ".h"}
    wanted = {
        f"emulated_npu/{file.relative_to(folder).as_posix()}"
        for file in folder.rglob("*")
        if file.suffix in kept or file.name == "py.typed"
        if not {"build", "__pycache__"} & set(file.relative_to(folder).parts)
    }
    assert wanted - content(emulated[0]).keys() == set()
    assert entry_points(emulated[0]) == {"vllm.platform_plugins": ["emulated_npu"]}


def test_the_license_is_in_the_wheel_and_in_the_sdist_of_both(
    toolkit: tuple[Path, Path], emulated: tuple[Path, Path]
) -> None:
    license = (REPOSITORY / "LICENSE").read_bytes()
    for wheel, sdist in (toolkit, emulated):
        assert license in [data for name, data in content(wheel).items() if name.endswith("/LICENSE")]
        with tarfile.open(sdist) as packed:
            (member,) = (each for each in packed.getmembers() if each.name.count("/") == 1 and "LICENSE" in each.name)
            content_of = packed.extractfile(member)
            assert content_of is not None
            assert content_of.read() == license


def test_the_sdist_of_the_emulated_npu_builds_the_same_wheel(emulated: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = emulated
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (project,) = (tmp_path / "unpacked").iterdir()
    again, _ = built(project, tmp_path)
    assert content(again).keys() == content(wheel).keys()


# The emulated NPU by itself


def test_the_emulated_npu_knows_nothing_of_the_toolkit() -> None:
    """Neither an import nor a word, in code as in prose."""
    files = [
        file for file in EMULATED_NPU.rglob("*") if file.suffix in {".py", ".md", ".cfg", ".toml", ".json", ".cpp"}
    ]
    assert [file.name for file in files if re.search("ascend[_-]patches", file.read_text("utf-8"), re.IGNORECASE)] == []


def test_no_code_outside_the_emulated_npu_uses_its_private_names() -> None:
    def private(file: Path) -> list[str]:
        modules = []
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "emulated_npu":
                modules += [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules += [alias.name for alias in node.names if alias.name.startswith("emulated_npu.")]
        return [name for name in modules if any(part.startswith("_") for part in name.split("."))]

    tests = [file for file in (REPOSITORY / "tests").rglob("*.py") if "emulated_npu" not in file.parts]
    tools = [file for file in (REPOSITORY / "tools").rglob("*.py") if "no_build" not in file.parts]
    files = [*(REPOSITORY / "ascend_patches").rglob("*.py"), *tests, *tools]
    assert {str(file.relative_to(REPOSITORY)): names for file in files if (names := private(file))} == {}


def test_its_readme_has_no_relative_links_so_that_it_reads_the_same_on_an_index_and_in_the_site() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (EMULATED_NPU / "README.md").read_text("utf-8"))
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_code_of_its_readme_runs() -> None:
    pytest.importorskip("torch", reason="the emulated NPU needs torch")
    (code,) = re.findall(r"^```python\n(.*?)^```$", (EMULATED_NPU / "README.md").read_text("utf-8"), re.M | re.S)
    finished = run([sys.executable, "-c", code], env=clean_environ([REPOSITORY]))
    assert finished.returncode == 0, finished.stderr
    assert "atb::_npu_flash_attention_unpad" in finished.stdout


# A production install


@pytest.fixture(scope="module")
def production(toolkit: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the toolkit's wheel and what it requires, and nothing of the repository."""
    environment = Environment(tmp_path_factory.mktemp("production") / "venv", with_toolkit=False)
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment.python, "install", *options]
    subprocess.run([*pip, toolkit[0]], check=True, env=clean_environ(()), timeout=300)
    environment.see(sysconfig.get_path("purelib"))
    return environment


def test_it_registers_no_platform_with_vllm(production: Environment) -> None:
    code = (
        "import importlib.util, json; from importlib.metadata import entry_points\n"
        "names = [point.name for point in entry_points(group='vllm.platform_plugins')]\n"
        "print(json.dumps([importlib.util.find_spec('emulated_npu') is None, 'emulated_npu' in names]))"
    )
    assert production.run(code).json == [True, False]


def test_verify_emulated_says_exactly_what_to_install(production: Environment) -> None:
    pytest.importorskip("torch", reason="without torch verify asks for torch")
    environ = clean_environ(())
    environ.pop("PYTHONPATH", None)
    result = run([production.folder / "bin" / "ascend-patches", "verify", "--emulated"], env=environ)
    assert result.returncode != 0
    assert "pip install emulated-npu" in result.stderr
    assert "pip install ./emulated_npu" in result.stderr
