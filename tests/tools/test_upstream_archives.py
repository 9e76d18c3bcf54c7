"""What is unpacked is what the archive says it holds, and lands where an installation would put it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from fake_index import FakeIndex
from releases import archives
from releases.errors import CorruptDistributionError


@pytest.fixture
def index(tmp_path: Path) -> FakeIndex:
    return FakeIndex(tmp_path / "index")


def unpacked(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_python_files_configs_and_metadata_are_kept(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel(
        "tiny", "1", {"tiny/a.py": "", "tiny/c.json": "{}", "tiny/_C.so": "x", "tiny/readme.md": ""}
    )
    archives.unpack_wheel(wheel, tmp_path / "site", archives.python_files)
    assert unpacked(tmp_path / "site") == {
        "tiny/a.py",
        "tiny/c.json",
        "tiny-1.dist-info/METADATA",
        "tiny-1.dist-info/WHEEL",
        "tiny-1.dist-info/RECORD",
    }


def test_descriptions_of_compiled_kernels_are_left_out(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny/a.py": "", "tiny/_cann_ops_custom/k.json": "{}"})
    assert "tiny/_cann_ops_custom/k.json" not in archives.unpack_wheel(wheel, tmp_path / "site", archives.python_files)


def test_libraries_under_data_land_beside_the_others_and_scripts_do_not(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny-1.data/purelib/tiny/a.py": "", "tiny-1.data/scripts/go": ""})
    archives.unpack_wheel(wheel, tmp_path / "site", archives.everything)
    assert {path for path in unpacked(tmp_path / "site") if ".dist-info" not in path} == {"tiny/a.py"}


def test_a_file_that_is_not_as_the_record_tells_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny/a.py": "ok"}, record={"tiny/a.py": "something else"})
    with pytest.raises(CorruptDistributionError, match=r"tiny-1-.*tiny/a\.py does not have the hash"):
        archives.unpack_wheel(wheel, tmp_path / "site", archives.everything)


def test_a_file_that_the_record_does_not_list_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny/a.py": ""})
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tiny/b.py", "")
    with pytest.raises(CorruptDistributionError, match=r"tiny/b\.py, which its RECORD does not list"):
        archives.unpack_wheel(wheel, tmp_path / "site", archives.everything)


def test_a_wheel_cut_short_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny/a.py": "ok"})
    wheel.write_bytes(wheel.read_bytes()[:60])
    with pytest.raises(CorruptDistributionError, match="is damaged"):
        archives.unpack_wheel(wheel, tmp_path / "site", archives.everything)


def test_an_sdist_cut_short_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    sdist = index.add_sdist("tiny", "1", {"tiny/a.py": "ok"})
    sdist.write_bytes(sdist.read_bytes()[:60])
    with pytest.raises(CorruptDistributionError, match="is damaged"):
        archives.unpack_sdist(sdist, tmp_path / "site", "tiny", archives.everything)


def test_a_file_that_would_land_outside_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    wheel = index.add_wheel("tiny", "1", {"tiny/../../../escaped.py": ""})
    with pytest.raises(CorruptDistributionError, match="would land elsewhere"):
        archives.unpack_wheel(wheel, tmp_path / "site", archives.everything)


def test_an_sdist_is_laid_out_as_an_installation(index: FakeIndex, tmp_path: Path) -> None:
    files = {"tiny/a.py": "", "setup.py": "", "tests/t.py": "", "tiny.egg-info/entry_points.txt": "[g]\n"}
    archives.unpack_sdist(index.add_sdist("tiny", "1", files), tmp_path / "site", "tiny", archives.python_files)
    assert unpacked(tmp_path / "site") == {
        "tiny/a.py",
        "tiny-1.dist-info/METADATA",
        "tiny-1.dist-info/entry_points.txt",
    }


def test_an_sdist_without_the_package_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    sdist = index.add_sdist("tiny", "1", {"other/a.py": ""})
    with pytest.raises(CorruptDistributionError, match="holds no package named tiny"):
        archives.unpack_sdist(sdist, tmp_path / "site", "tiny", archives.everything)
