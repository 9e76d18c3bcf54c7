"""bench: what it takes, what it says of what it measured, and how it ends where it cannot measure."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY, World

from ascend_patches.commands import bench
from ascend_patches.commands.side_process import SideError, SideProcess
from ascend_patches.commands.turn_times import by_turns
from ascend_patches.errors import AscendPatchesError

# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "448"], "--size 448: write it as 448x448"),
        (["--size", "0x5"], "--size 0x5: write it as 448x448"),
        (["--size", "99999x99999"], "each at most 16384"),
        (["--turns", "0"], "--turns 0: it is a number from 1 to"),
        (["--images", "1", "-1"], "--images -1: it is a number from 1 to"),
        (["--frames", "-1"], "--frames -1: it is a number from 0 to"),
        (["--turns", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_number_that_nothing_can_be_measured_with_is_a_mistake_of_usage(
    arguments: list[str], words: str, world: World, tmp_path: Path
) -> None:
    done = world.command("bench", "--model", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_folder_that_is_not_there_and_a_patch_that_is_not_known_are_named(world: World, tmp_path: Path) -> None:
    done = world.command("bench", "--model", str(tmp_path / "gone"))
    assert (done.returncode, "gone: no such folder" in done.stderr) == (1, True)
    done = world.command("bench", "--model", str(tmp_path), "gretting")
    assert (done.returncode, "there is no patch 'gretting'" in done.stderr) == (1, True)


# The sides take turns


def test_a_turn_that_was_disturbed_moves_no_bound_of_the_ratio() -> None:
    taken = {"upstream": [100.0] * 30, "patched": [60.0] * 29 + [6_000.0]}
    (compared,) = by_turns(lambda side, turn: [taken[side][turn]], 30)
    assert (compared.ratio, compared.ratio_low, compared.ratio_high) == (0.6, 0.6, 0.6)


def test_of_few_turns_the_bounds_are_the_smallest_and_the_largest_ratio() -> None:
    taken = {"upstream": [100.0] * 3, "patched": [50.0, 60.0, 90.0]}
    (compared,) = by_turns(lambda side, turn: [taken[side][turn]], 3)
    assert (compared.ratio, compared.ratio_low, compared.ratio_high) == (0.6, 0.5, 0.9)


def test_the_side_that_comes_first_changes_with_every_turn() -> None:
    seen: list[tuple[str, int]] = []

    def take(side: str, turn: int) -> list[float]:
        seen.append((side, turn))
        return [1.0]

    by_turns(take, 3)
    assert [side for side, _ in seen] == ["patched", "upstream", "upstream", "patched", "patched", "upstream"]


def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> None:
    taken = {"upstream": [10.0, 20.0, 100.0], "patched": [5.0, 18.0, 50.0]}
    (compared,) = by_turns(lambda side, turn: [taken[side][turn]], 3)
    assert (compared.upstream.median, compared.patched.median, compared.ratio) == (20.0, 18.0, 0.5)


def test_each_kind_of_time_is_compared_with_its_own() -> None:
    host, forward = by_turns(lambda side, turn: (2.0, 9.0) if side == "upstream" else (1.0, 9.0), 2)
    assert (host.ratio, forward.ratio) == (0.5, 1.0)


# A side's process

ANSWERS = """
import sys
sys.path.insert(0, {root!r})
from ascend_patches.commands import side_process
from ascend_patches.errors import AscendPatchesError
class Side:
    def add(self, one, other):
        print("libraries print")
        return one + other
    def refuse(self):
        raise AscendPatchesError("no device")
    def end(self):
        print("x" * 200_000, "the last words", file=sys.stderr)
        raise SystemExit(3)
side_process.answer(Side)
"""


@pytest.fixture
def process(tmp_path: Path) -> Any:
    (script := tmp_path / "side.py").write_text(ANSWERS.format(root=str(REPOSITORY)))
    made = SideProcess("patched", [sys.executable, str(script)], dict(os.environ))
    yield made
    made.close()


def test_it_answers_whatever_its_libraries_print(process: SideProcess) -> None:
    assert process.ask("add", one=1, other=2) == 3


def test_what_it_refuses_is_an_error_and_it_goes_on_answering(process: SideProcess) -> None:
    with pytest.raises(SideError, match="no device"):
        process.ask("refuse")
    assert process.ask("add", one=1, other=1) == 2


def test_where_it_ends_its_exit_code_and_its_last_words_are_said(process: SideProcess) -> None:
    with pytest.raises(SideError, match=r"(?s)the patched side ended with 3; .*the last words"):
        process.ask("end")
    with pytest.raises(SideError, match="the patched side ended with 3"):
        process.ask("add", one=1, other=1)


# What is said

TIME = {"median": 4000.0, "low": 3900.0, "high": 4100.0}
COMPARED = {
    "upstream": TIME,
    "patched": {name: value / 2 for name, value in TIME.items()},
    "ratio": 0.5,
    "ratio_low": 0.48,
    "ratio_high": 0.52,
    "turns": 5,
}


def found(*, emulated: bool) -> dict[str, Any]:
    kinds = ("host",) if emulated else ("host", "forward")
    given = {"pictures": 4, "frames": 1, "width": 448, "height": 448}
    return {
        "device": {"name": "a device that does nothing" if emulated else "Ascend910B3", "emulated": emulated},
        "versions": {"vllm": "0.23.0", "torch": "2.10.0"},
        "model": "/models/Qwen3-VL",
        "encoder": "Qwen3-VL",
        "dtype": "bfloat16",
        "weights": "of the checkpoint",
        "patches": [
            {"name": "one", "state": "applied", "reason": ""},
            {"name": "two", "state": "skipped", "reason": "native"},
        ],
        "turns": 5,
        "inputs": [{**given, "microseconds": dict.fromkeys(kinds, COMPARED)}],
    }


def test_both_sides_are_shown_with_their_range_and_ratio() -> None:
    lines = list(bench._lines(found(emulated=True)))
    assert "applied: one" in lines
    (row,) = (line for line in lines[4].splitlines() if line.startswith("4 images, 448x448"))
    assert row.split("  ")[-3:] == ["4.00 (3.90 to 4.10)", "2.00 (1.95 to 2.05)", "0.50 (0.48 to 0.52)"]


def test_without_an_npu_it_says_that_only_the_host_was_measured() -> None:
    assert "No NPU here: `host` is the time of the host alone" in list(bench._lines(found(emulated=True)))[-1]


def test_on_an_npu_the_forward_is_shown_beside_the_host() -> None:
    lines = list(bench._lines(found(emulated=False)))
    assert [line.split("  ")[1] for line in lines[4].splitlines()[1:]] == ["host", "forward"]
    assert lines[-1].startswith("On this NPU.")


@pytest.mark.parametrize(("names", "refused"), [([], ""), (["one"], ""), (["one", "two"], "two is skipped: native")])
def test_times_of_a_patch_that_is_not_applied_are_refused(names: list[str], refused: str) -> None:
    patches = found(emulated=True)["patches"]
    if not refused:
        bench._require_applied(patches, names)
        return
    with pytest.raises(AscendPatchesError, match=refused):
        bench._require_applied(patches, names)


def test_where_nothing_is_applied_each_reason_is_said() -> None:
    with pytest.raises(AscendPatchesError, match="no patch is applied, so there is nothing to compare: two is skipped"):
        bench._require_applied(found(emulated=True)["patches"][1:], [])
