"""The layout of the official images: vLLM and vllm-ascend installed editable, their code in a workspace of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Environment, World

from ascend_patches.upstream import fingerprints

ENGINE = "def greet(name):\n    return 'upstream ' + name\n"
LAYERS = "def rotate(x):\n    return x\n"
FINDER = """
import importlib.machinery, importlib.util, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {package!r}:
            place = {folder!r} + "/" + name
            return importlib.util.spec_from_file_location(
                name, place + "/__init__.py", submodule_search_locations=[place])

def install():
    sys.meta_path.append(Finder)
"""


def install_editable(environment: Environment, project: Path, package: str, version: str, style: str) -> None:
    """What ``pip install -e`` leaves in site-packages: metadata, and a way to the code elsewhere."""
    name = package.replace("_", "-")
    info = environment.site_packages / f"{package}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{package}\n")
    (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    (info / "RECORD").write_text(f"__editable__.{package}-{version}.pth,,\n{info.name}/METADATA,,\n")
    file = environment.site_packages / f"__editable__.{package}-{version}.pth"
    if style == "a path":
        file.write_text(f"{project}\n")
    else:
        module = f"__editable___{package}_finder"
        (environment.site_packages / f"{module}.py").write_text(FINDER.format(package=package, folder=str(project)))
        file.write_text(f"import {module}; {module}.install()\n")


@pytest.fixture(params=["a path", "a finder"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    """An environment like an image's, with the toolkit's start hook and a patch for each of the two packages."""
    environment = Environment(tmp_path / "python")
    workspace = tmp_path / "vllm-workspace"
    for project, package, module, code in (
        ("vllm", "vllm", "engine", ENGINE),
        ("vllm-ascend", "vllm_ascend", "layers", LAYERS),
    ):
        source = World(workspace / project)
        source.package(package, {module: code}, version=None)
        install_editable(environment, source.folder, package, "0.18.0+empty", request.param)
    theirs = World(environment.site_packages)
    known = {code: fingerprints.of_source(code, name) for code, name in ((ENGINE, "greet"), (LAYERS, "rotate"))}
    theirs.patches(
        "from ascend_patches import *\n"
        "def greet(name): return 'patched ' + name\n"
        "def rotate(x): return -x\n"
        "def one(name, target, new, known, package):\n"
        "    rewrite = Rewrite(target, replace=new, fingerprints=(known,))\n"
        "    return Patch(name, 'a patch', (Variant('only', version_in(package, '==0.18.0'), (rewrite,)),))\n"
        f"PATCHES = [one('greeting', 'vllm.engine:greet', greet, {known[ENGINE]!r}, 'vllm'),\n"
        f"           one('turning', 'vllm_ascend.layers:rotate', rotate, {known[LAYERS]!r}, 'vllm-ascend')]\n"
    )
    environment.install_hook()
    return environment


def test_versions_are_those_of_the_editable_installations(image: Environment) -> None:
    found = image.run(["-m", "ascend_patches", "status", "--json"]).json_document["versions"]
    assert {name: found[name]["version"] for name in ("vllm", "vllm-ascend")} == {
        "vllm": "0.18.0+empty",
        "vllm-ascend": "0.18.0+empty",
    }
    assert found["vllm"]["source"].endswith("(editable)")


def test_what_would_happen_is_known_before_anything_is_imported(image: Environment) -> None:
    result = image.run(["-m", "ascend_patches", "status"], env={"ASCEND_PATCHES": "strict"})
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("would be applied when vLLM imports it") == 2


def test_the_code_in_the_workspace_is_patched(image: Environment) -> None:
    code = "import vllm.engine, vllm_ascend.layers; print(vllm.engine.greet('you'), vllm_ascend.layers.rotate(1))"
    result = image.run(code)
    assert (result.stdout, result.stderr) == ("patched you -1\n", "")
    assert image.run(code, env={"ASCEND_PATCHES": "off"}).stdout == "upstream you 1\n"


def test_an_upgrade_is_compared_with_what_is_installed(image: Environment, tmp_path: Path) -> None:
    world = World(tmp_path / "new")
    world.package("vllm", {"engine": ENGINE}, version="0.18.0")
    world.package("vllm_ascend", {"layers": "def rotate(x):\n    return x + 0\n"}, version="0.18.0")
    result = image.run(["-m", "ascend_patches", "compare", "here", str(world.folder)])
    assert result.returncode == 1
    assert "turning would be without effect" in result.stdout
