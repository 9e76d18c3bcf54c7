"""tools/lock: nothing enters the lock that is not known code, or passed its tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from releases import locking
from releases.locking import NATIVE, Seen
from releases.pairs import Pair

from ascend_patches.deciding.lock import Entry, Lock, PatchLock
from ascend_patches.declaring.gates import version_in
from ascend_patches.declaring.patch import Exemption, Patch, Rewrite, Variant
from ascend_patches.upstream.sources import Roots

TARGET = "vllm.layer:Layer.forward"
OLD, NEW, NATIVELY = Pair("0.15.0", ""), Pair("0.16.0", ""), Pair("0.17.0", "")


def patch(**more: object) -> Patch:
    return Patch(
        "faster",
        "a patch for a test",
        (Variant("only", version_in("vllm", "<0.17"), (Rewrite(TARGET, "m:f"),)),),
        exemptions=(Exemption(version_in("vllm", ">=0.17"), "native since 0.17", native=True, targets=(TARGET,)),),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def code(tmp_path: Path) -> dict[str, Roots]:
    found = {}
    for pair, body in ((OLD, "x"), (NEW, "x + 1"), (NATIVELY, "x + 2")):
        folder = tmp_path / pair.vllm / "vllm"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "layer.py").write_text(f"class Layer:\n    def forward(self, x):\n        return {body}\n")
        found[locking.release(pair)] = Roots([folder.parent])
    return found


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "lock.json"
    file.write_text('{\n  "schema": 1,\n  "patches": {}\n}\n')
    monkeypatch.setattr(locking, "LOCK_FILE", file)
    return file


def seen(code: dict[str, Roots], *pairs: Pair) -> list[Seen]:
    return [one for pair in pairs for one in locking.look(patch(), pair, code[locking.release(pair)])]


def test_what_a_patch_meets_is_its_variants_targets_or_the_native_code(code: dict[str, Roots]) -> None:
    old, native = seen(code, OLD, NATIVELY)
    assert (old.variant, native.variant) == ("only", NATIVE)
    assert old.fingerprints == {TARGET: code["vllm 0.15.0"].look(TARGET).text}


def test_a_target_that_a_gate_promises_and_a_release_lacks_is_a_problem(code: dict[str, Roots], tmp_path: Path) -> None:
    (tmp_path / "0.15.0" / "vllm" / "layer.py").write_text("")
    (one,) = seen(code, OLD)
    assert one.problems == [f"{TARGET}: module vllm.layer has no class Layer"]


def test_two_variants_for_one_release_are_a_problem(code: dict[str, Roots]) -> None:
    both = (*patch().variants, Variant("other", version_in("vllm", "0.15.0"), (Rewrite(TARGET, "m:f"),)))
    twice = Patch("twice", "a patch for a test", both)
    first, _ = locking.look(twice, OLD, code["vllm 0.15.0"])
    assert first.problems == ["several variants fit: only, other"]


def test_what_is_written_is_what_is_read_and_releases_with_one_code_share_an_entry(
    code: dict[str, Roots], lock_file: Path
) -> None:
    again = Pair("0.15.1", "")
    code["vllm 0.15.1"] = code["vllm 0.15.0"]
    found = seen(code, OLD, again, NEW, NATIVELY)
    lock_file.write_text(locking.written(found, Lock({})))
    lock = Lock.read(str(lock_file))
    assert [entry.seen_in for entry in lock.entries("faster", "only")] == [
        ("vllm 0.15.0", "vllm 0.15.1"),
        ("vllm 0.16.0",),
    ]
    assert [entry.seen_in for entry in lock.native("faster")] == [("vllm 0.17.0",)]
    assert all(locking.is_known(one, lock) for one in found)
    assert locking.written(found, lock) == lock_file.read_text()


def test_code_that_is_not_in_the_lock_is_unknown(code: dict[str, Roots], lock_file: Path) -> None:
    old, new = seen(code, OLD, NEW)
    lock_file.write_text(locking.written([old], Lock({})))
    assert not locking.is_known(new, Lock.read(str(lock_file)))


@pytest.mark.parametrize(("returncode", "names"), [(0, ["vllm 0.16.0"]), (1, [])])
def test_unknown_code_is_accepted_only_if_its_tests_pass_with_it_in_the_lock(
    code: dict[str, Roots], lock_file: Path, monkeypatch: pytest.MonkeyPatch, returncode: int, names: list[str]
) -> None:
    old, new = seen(code, OLD, NEW)
    lock_file.write_text(locking.written([old], Lock({})))
    before = lock_file.read_text()
    tested: list[tuple[list[str], bool]] = []

    def run(command: list[str], env: object) -> subprocess.CompletedProcess[str]:
        tested.append((command, locking.is_known(new, Lock.read(str(lock_file)))))
        return subprocess.CompletedProcess(command, returncode)

    monkeypatch.setattr(subprocess, "run", run)
    accepted = locking.accept([new], Lock.read(str(lock_file)), [old, new])
    assert [locking.release(one.pair) for one in accepted] == names
    ((command, was_in_the_lock),) = tested
    assert (command[-2:], was_in_the_lock) == (["-k", "vllm-0.16.0"], True)
    assert lock_file.read_text() == before


def test_while_code_of_one_patch_is_tested_the_lock_has_all_other_patches(
    code: dict[str, Roots], lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = seen(code, OLD, NEW)
    other = Patch("other", "another one", patch().variants)
    theirs = PatchLock({"only": (Entry({"m:f": "0"}, ("vllm 0.15.0",)),)}, ())
    lock = Lock({"other": theirs})
    lock_file.write_text(locking.written([old], lock, [other]))
    found: list[bool] = []

    def run(command: list[str], env: object) -> subprocess.CompletedProcess[str]:
        found.append("other" in Lock.read(str(lock_file)).patches)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    locking.accept([new], Lock.read(str(lock_file)), [old, new], [other])
    assert found == [True]


def test_unknown_code_is_shown_beside_the_nearest_known(
    code: dict[str, Roots], lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = seen(code, OLD, NEW)
    lock_file.write_text(locking.written([old], Lock({})))
    locking.show(new, Lock.read(str(lock_file)), code)
    shown = capsys.readouterr().out
    assert "unknown code: faster, only, on vllm 0.16.0" in shown
    assert "against vllm 0.15.0" in shown
    assert "+    return x + 1" in shown


def test_the_shipped_lock_reads_and_names_releases_of_the_table() -> None:
    from releases.pairs import PAIRS

    known = {locking.release(pair) for pair in PAIRS}
    assert set(Lock.read().releases()) <= known
    json.loads(locking.LOCK_FILE.read_text())
