"""The tests of a release: out of its sdist, kept in the cache, and nothing of it outside of its own folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ascend_patches.upstream import released_tests
from ascend_patches.upstream.downloads import NotThereError


def sdist(folder: Path, members: dict[str, str]) -> Path:
    archive = folder / "vllm_ascend-0.18.0.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        for name, text in members.items():
            member = tarfile.TarInfo(f"vllm_ascend-0.18.0/{name}")
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text.encode()))
    return archive


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tests_and_what_lies_beside_them_are_kept(tmp_path: Path, cache: Path) -> None:
    sdist(tmp_path, {"tests/ut/test_a.py": "A = 1\n", "tests/ut/a.json": "{}", "vllm_ascend/a.py": "A = 2\n"})
    folder = Path(released_tests.folder_of("vllm-ascend", "0.18.0", str(tmp_path)))
    assert cache in folder.parents
    assert sorted(str(each.relative_to(folder)) for each in folder.rglob("*.*")) == [
        "tests/ut/a.json",
        "tests/ut/test_a.py",
    ]
    (tmp_path / "vllm_ascend-0.18.0.tar.gz").unlink()
    assert Path(released_tests.folder_of("vllm-ascend", "0.18.0", str(tmp_path))) == folder


def test_nothing_leads_out_of_the_folder(tmp_path: Path, cache: Path) -> None:
    sdist(tmp_path, {"tests/../../../../escaped.py": "A = 1\n", "tests/test_a.py": "A = 1\n"})
    released_tests.folder_of("vllm-ascend", "0.18.0", str(tmp_path))
    assert not list(tmp_path.rglob("escaped.py"))


def test_a_release_without_an_sdist(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(NotThereError):
        released_tests.folder_of("vllm-ascend", "0.17.0", str(tmp_path))


def test_a_folder_with_an_unpacked_sdist_has_its_tests(tmp_path: Path) -> None:
    assert released_tests.of_unpacked(str(tmp_path)) is None
    (tmp_path / "tests").mkdir()
    (tmp_path / "PKG-INFO").touch()
    assert released_tests.of_unpacked(str(tmp_path)) == str(tmp_path)
