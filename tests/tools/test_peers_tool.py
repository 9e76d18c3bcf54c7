"""tools/peers: scores of other people's tests, and what counts as worse."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from peer_tests import peer_runs, peer_scores
from peer_tests.suites import RELEASES, SUITES

SCORE = peer_scores.Score(
    "vllm-ascend==0.23.0",
    "tests/ut/ops/test_mla.py",
    {"T::a": "passed", "T::b": "passed", "T::c": "failed", "T::d": "skipped"},
    {"T::a": "passed", "T::b": "failed", "T::c": "passed", "T::d": "skipped"},
)


def test_a_test_is_worse_only_where_it_passes_unpatched_and_does_not_patched() -> None:
    assert SCORE.worse == ["vllm-ascend==0.23.0 tests/ut/ops/test_mla.py T::b"]


def test_a_row_says_how_many_pass_of_those_that_were_run_on_both_sides() -> None:
    assert peer_scores.row(SCORE.kept()) == (
        "| vllm-ascend==0.23.0 | tests/ut/ops/test_mla.py | 2 of 3, 1 skipped | 2 of 3, 1 skipped | 1 |"
    )


def test_a_file_that_did_not_end_says_so_instead_of_a_score() -> None:
    unfinished = {"(the file)": "not done after 6 minutes"}
    score = peer_scores.Score("r", "f", unfinished, unfinished)
    assert peer_scores.row(score.kept()) == "| r | f | not done after 6 minutes | not done after 6 minutes | 0 |"
    assert score.worse == []


def test_the_page_lists_every_test_that_is_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_scores, "PAGE", tmp_path / "peers.md")
    monkeypatch.setitem(peer_scores.EXPLAINED, "T::b", "it looks at a name that is replaced")
    peer_scores.write([SCORE.kept()])
    assert "test_mla.py T::b`: it looks at a name that is replaced" in peer_scores.PAGE.read_text("utf-8")


def test_the_page_keeps_the_scores_of_files_that_a_run_did_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_scores, "PAGE", tmp_path / "peers.md")
    other = peer_scores.Score(SCORE.release, "tests/ut/ops/test_other.py", {"T::x": "passed"}, {"T::x": "passed"})
    peer_scores.write([SCORE.kept()])
    peer_scores.write([other.kept()])
    mended = peer_scores.Score(SCORE.release, SCORE.file, SCORE.unpatched, SCORE.unpatched)
    peer_scores.write([mended.kept()])
    assert peer_scores.read() == [mended.kept(), other.kept()]
    assert "| vllm-ascend==0.23.0 | 2 | 3 of 4, 1 skipped | 3 of 4, 1 skipped | 0 |" in peer_scores.PAGE.read_text()


def test_a_golden_is_named_with_the_vllm_that_it_is_from() -> None:
    goldens = [suite for suite in SUITES if suite.distribution == "vllm"]
    assert goldens[0].title("tests/x.py") == "tests/x.py of vllm 0.32.0"
    assert [suite.release for suite in goldens] == list(RELEASES)


def test_outcomes_are_read_from_pytest_s_report() -> None:
    report = """
        <testsuite>
          <testcase classname="tests.ut.test_x.TestY" name="test_a[1]" />
          <testcase classname="tests.ut.test_x.TestY" name="test_b"><failure message="no" /></testcase>
          <testcase classname="tests.ut.test_x.TestY" name="test_c"><error message="no" /></testcase>
          <testcase classname="tests.ut.test_x.TestY" name="test_d"><skipped message="no" /></testcase>
        </testsuite>
    """
    cases = ElementTree.fromstring(report).iter("testcase")
    assert {peer_runs._name(case): peer_runs._outcome(case) for case in cases} == {
        "TestY::test_a[1]": "passed",
        "TestY::test_b": "failed",
        "TestY::test_c": "failed",
        "TestY::test_d": "skipped",
    }


def test_tests_find_the_configurations_that_they_name_and_a_command_that_says_there_is_an_npu(tmp_path: Path) -> None:
    with peer_runs._surroundings(tmp_path, all_heads=False) as place:
        config = json.loads((place / "work" / "Qwen" / "Qwen3-8B" / "config.json").read_text("utf-8"))
        assert config["num_attention_heads"] == 32
        assert _heads(place) == 16
        assert (place / "bin" / "npu-smi").stat().st_mode & 0o100


def test_the_latent_attention_of_deepseek_v2_has_all_its_heads_where_that_is_asked_for(tmp_path: Path) -> None:
    with peer_runs._surroundings(tmp_path, all_heads=True) as place:
        assert _heads(place) == 128


def _heads(place: Path) -> int:
    config = json.loads((place / "work" / "deepseek-ai" / "DeepSeek-V2" / "config.json").read_text("utf-8"))
    return int(config["num_attention_heads"])


def test_every_suite_is_of_a_release_that_is_supported() -> None:
    assert [suite.pair.name for suite in SUITES] == [suite.release for suite in SUITES]


def test_a_file_without_a_report_says_what_pytest_said_last() -> None:
    done = subprocess.CompletedProcess([], 4, stdout="E   ModuleNotFoundError: No module named 'x'\nsee above\n")
    assert peer_runs._not_collected(done) == "not collected: ModuleNotFoundError: No module named 'x'"
    assert peer_runs._not_collected(subprocess.CompletedProcess([], 4, stdout="")) == "not collected"


def test_a_file_that_ends_pytest_itself_says_by_which_signal() -> None:
    assert peer_runs._not_collected(subprocess.CompletedProcess([], -11, stdout="")) == "ended by signal 11"
