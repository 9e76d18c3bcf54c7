"""The lock: what it verifies, what it cannot be read from, and that the shipped one speaks of the shipped patches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ascend_patches.deciding.lock import Entry, Lock, PatchLock
from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Rewrite, Variant
from ascend_patches.errors import LockError
from ascend_patches.patches import PATCHES
from ascend_patches.upstream.versions import parse

A, B = "vllm.a:run", "vllm.b:run"
BOTH = Variant("both", always, (Rewrite(A, print), Rewrite(B, print)))
SEEN = Entry({A: "a1", B: "b1"}, ("vllm 0.15.0", "vllm 0.15.1"))
LATER = Entry({A: "a2", B: "b2"}, ("vllm 0.16.0",))
NATIVE = Entry({A: "aN"}, ("vllm 0.18.0",))
LOCK = Lock({"faster": PatchLock({"both": (SEEN, LATER)}, (NATIVE,))})


@pytest.mark.parametrize(
    ("live", "entry"),
    [
        ({A: "a1", B: "b1"}, SEEN),
        ({A: "a2", B: "b2"}, LATER),
        ({B: "b2"}, LATER),
        ({A: "a1", B: "b2"}, None),
        ({A: "mystery"}, None),
        ({A: "(no source available)", B: "b1"}, None),
    ],
)
def test_code_is_verified_as_it_was_seen_together(live: dict[str, str], entry: Entry | None) -> None:
    assert LOCK.verified("faster", BOTH, live) is entry


def test_one_patch_and_variant_do_not_speak_for_another() -> None:
    live = {A: "a1", B: "b1"}
    assert LOCK.verified("other", BOTH, live) is None
    assert LOCK.verified("faster", Variant("third", always, BOTH.rewrites), live) is None


def test_a_declaration_vouches_for_its_own_target_and_the_lock_for_the_rest() -> None:
    vouching = Variant("both", always, (Rewrite(A, print, fingerprints=("mine", "too")), Rewrite(B, print)))
    assert LOCK.verified("faster", vouching, {A: "mine", B: "b2"}) is LATER
    assert LOCK.verified("faster", vouching, {A: "too"}) == Entry({A: "too"}, ())
    assert LOCK.verified("faster", vouching, {A: "mine", B: "mine"}) is None


def test_it_knows_the_releases_and_what_is_native() -> None:
    assert LOCK.releases() == ("vllm 0.15.0", "vllm 0.15.1", "vllm 0.16.0", "vllm 0.18.0")
    assert LOCK.native("faster") == (NATIVE,)
    assert LOCK.native("other") == ()


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    entry = {"fingerprints": {A: "a1"}, "seen_in": ["vllm 0.15.0"]}
    document = {"schema": 1, "patches": {"faster": {"variants": {"only": [entry]}, "native": [entry]}, "empty": {}}}
    (tmp_path / "lock.json").write_text(json.dumps(document))
    read = Lock.read(str(tmp_path / "lock.json"))
    expected = Entry({A: "a1"}, ("vllm 0.15.0",))
    assert read.patches == {"faster": PatchLock({"only": (expected,)}, (expected,)), "empty": PatchLock({}, ())}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "damaged"),
        (b"3", "damaged"),
        (b"{}", "damaged"),
        (b'{"schema": 1}', "damaged"),
        (b'{"schema": 1, "patches": []}', "damaged"),
        (b'{"schema": 1, "patches": {"faster": 3}}', "damaged"),
        (b'{"schema": 1, "patches": {"faster": {"variants": {"only": [{}]}}}}', "damaged"),
        (b'{"schema": 1, "patches": {"faster": {"native": [{"fingerprints": {}, "seen_in": 3}]}}}', "damaged"),
        (b'{"schema": 2, "patches": {}}', "its schema is 2, this package reads 1"),
    ],
)
def test_a_damaged_lock_is_refused_by_name(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "lock.json"
    file.write_bytes(content)
    with pytest.raises(LockError, match=what) as refused:
        Lock.read(str(file))
    assert str(file) in str(refused.value)


def test_a_missing_lock_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="No such file"):
        Lock.read(str(tmp_path / "lock.json"))


def test_the_shipped_lock_speaks_of_shipped_patches_variants_and_targets() -> None:
    examined = {(patch.name, one.name): set(one.examined) for patch in PATCHES for one in patch.variants}
    shipped = Lock.read()
    for name, known in shipped.patches.items():
        for variant, entries in known.variants.items():
            assert (name, variant) in examined
            assert [entry for entry in entries if set(entry.fingerprints) != examined[name, variant]] == []
        assert [entry for entry in known.native if not entry.fingerprints] == []


def test_every_release_in_the_shipped_lock_is_made_of_packages_and_versions() -> None:
    for release in Lock.read().releases():
        for package, version in (part.split() for part in release.split(" with ")):
            assert package in ("vllm", "vllm-ascend")
            assert parse(version) is not None
