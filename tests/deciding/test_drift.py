"""drift: what moved upstream, beside the nearest code that is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import World

from ascend_patches.deciding import drift
from ascend_patches.deciding.lock import Entry
from ascend_patches.upstream.sources import Roots, Sources

TARGET = "pkg.layer:Layer.forward"


def release(folder: Path, body: str) -> Roots:
    world = World(folder)
    world.package("pkg", {"layer": f"class Layer:\n    def forward(self, x):\n        return {body}\n"})
    return Roots([world.folder])


@pytest.fixture
def releases(tmp_path: Path) -> dict[str, Sources]:
    return {
        "vllm 0.15.0": release(tmp_path / "a", "x"),
        "vllm 0.18.1": release(tmp_path / "b", "x + 1"),
        "vllm 0.19.0": release(tmp_path / "c", "x + 2"),
    }


def entry(releases: dict[str, Sources], *names: str) -> Entry:
    return Entry({TARGET: releases[names[0]].look(TARGET).text}, names)


@pytest.mark.parametrize(
    ("version", "order"),
    [
        ("0.15.1", ["vllm 0.15.0", "vllm 0.18.1", "vllm 0.19.0"]),
        ("0.18.0", ["vllm 0.18.1", "vllm 0.19.0", "vllm 0.15.0"]),
        ("0.33.0", ["vllm 0.19.0", "vllm 0.18.1", "vllm 0.15.0"]),
    ],
)
def test_the_nearest_release_comes_first(releases: dict[str, Sources], version: str, order: list[str]) -> None:
    entries = tuple(entry(releases, name) for name in releases)
    assert [name for name, _ in drift.nearest(entries, {"vllm": version})] == order


def test_a_release_of_a_pair_is_compared_by_the_package_that_is_named_first() -> None:
    names = ("vllm-ascend 0.18.0 with vllm 0.18.0", "vllm-ascend 0.23.0 with vllm 0.23.0")
    entries = (Entry({}, names),)
    assert drift.nearest(entries, {"vllm-ascend": "0.22.1", "vllm": "0.18.0"})[0][0] == names[1]


def test_what_moved_is_a_diff_against_the_nearest_release_at_hand(releases: dict[str, Sources], tmp_path: Path) -> None:
    now = release(tmp_path / "now", "x + 3")
    entries = (entry(releases, "vllm 0.15.0"), entry(releases, "vllm 0.18.1"))
    (moved,) = drift.moved((TARGET,), now, entries, {"vllm": "0.18.2"}, releases.get)
    assert (moved.target, moved.was) == (TARGET, "vllm 0.18.1")
    assert "-    return x + 1" in moved.text.splitlines()
    assert "+    return x + 3" in moved.text.splitlines()


def test_what_has_not_moved_is_not_shown(releases: dict[str, Sources], tmp_path: Path) -> None:
    entries = (entry(releases, "vllm 0.18.1"),)
    same = release(tmp_path / "now", "x + 1")
    assert drift.moved((TARGET,), same, entries, {"vllm": "0.18.2"}, releases.get) == []


def test_without_a_release_at_hand_the_code_is_shown_as_it_is(releases: dict[str, Sources], tmp_path: Path) -> None:
    now = release(tmp_path / "now", "x + 3")
    (moved,) = drift.moved((TARGET,), now, (entry(releases, "vllm 0.18.1"),), {}, lambda name: None)
    assert (moved.was, "return x + 3" in moved.text) == ("", True)


def test_a_target_that_is_gone_is_said_in_the_diff(releases: dict[str, Sources], tmp_path: Path) -> None:
    world = World(tmp_path / "now")
    world.package("pkg", {"layer": "class Layer:\n    pass\n"})
    entries = (entry(releases, "vllm 0.18.1"),)
    (moved,) = drift.moved((TARGET,), Roots([world.folder]), entries, {"vllm": "0.19.0"}, releases.get)
    assert "class Layer has no function forward" in moved.text
