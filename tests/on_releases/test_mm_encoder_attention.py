"""Encoder attention on every release: the release's own numbers, or right ones, and fewer waits and dispatches."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import RUNNABLE, OnPair, by_name
from releases.pairs import Pair

from ascend_patches.deciding.lock import Lock
from ascend_patches.patches.mm_encoder_attention.checks import WRONG_UPSTREAM
from ascend_patches.upstream.versions import parse, parse_range

SCRIPT = Path(__file__).with_name("mm_encoder_attention_run.py")
LAYERS = 27
NAME = "mm-encoder-attention"
TOLERANCE = {"torch.float32": 2e-6, "torch.bfloat16": 1e-2}
pytestmark = pytest.mark.upstream

_measured: dict[str, Any] = {}


@pytest.fixture
def measured(pair: Pair, on_pair: OnPair) -> Any:
    """What the script found on a release; it runs once for all tests."""
    if pair.name not in _measured:
        _measured[pair.name] = on_pair(
            pair,
            SCRIPT,
            ASCEND_PATCHES_DISABLE="all",
            ASCEND_PATCHES_ENABLE=NAME,
            ASCEND_PATCHES_RELEASE_FLOAT32="1",
        )
    return _measured[pair.name]


def one_of_each_code() -> list[Pair]:
    """The newest release of each code that the lock knows, and every release that it does not know."""
    known = [entry.seen_in for entries in Lock.read().patches[NAME].variants.values() for entry in entries]
    newest = {releases[-1] for releases in known}
    earlier = {release for releases in known for release in releases[:-1]}
    return [pair for pair in RUNNABLE if is_served(pair) and (said(pair) in newest or said(pair) not in earlier)]


def said(pair: Pair) -> str:
    """A pair, as the lock writes it."""
    return f"vllm-ascend {pair.ascend} with vllm {pair.vllm}" if pair.ascend else f"vllm {pair.vllm}"


def is_served(pair: Pair) -> bool:
    version = parse(pair.vllm)
    return version is not None and parse_range(">=0.13").admits(version)


def is_in(pair: Pair, releases: str) -> bool:
    """Whether a pair's vllm-ascend lies in a range."""
    version = parse(pair.ascend)
    return version is not None and parse_range(releases).admits(version)


ALONE = [pair for pair in one_of_each_code() if not pair.ascend]
WITH_ASCEND = [pair for pair in one_of_each_code() if pair.ascend]


@by_name(ALONE + WITH_ASCEND)
def test_it_is_applied(pair: Pair, measured: Any) -> None:
    assert measured["patch"]["state"] == "applied", measured["patch"]["reason"]


@by_name(WITH_ASCEND)
def test_same_bits_wherever_the_release_is_right(pair: Pair, measured: Any) -> None:
    different = [name for name, case in measured["cases"].items() if not case["same bits"]]
    assert [name for name in different if wrong_upstream(pair).get(name.rpartition(", ")[0]) is None] == []


@by_name(WITH_ASCEND)
def test_what_is_said_to_be_wrong_upstream_is(pair: Pair, measured: Any) -> None:
    """A number far from float64, or a call that the op refuses. Float32 goes another way on some releases."""
    cases = {name: case for name, case in measured["cases"].items() if name.endswith("bfloat16")}
    wrong = {name.rpartition(", ")[0] for name, case in cases.items() if is_wrong(case["upstream"], name)}
    assert wrong == set(wrong_upstream(pair))


@by_name(ALONE + WITH_ASCEND)
def test_every_case_is_right(pair: Pair, measured: Any) -> None:
    assert [name for name, case in measured["cases"].items() if is_wrong(case["patched"], name)] == []


@by_name(ALONE)
def test_another_kernel_is_no_further_from_float64_than_the_releases_own(pair: Pair, measured: Any) -> None:
    worse = [
        name
        for name, case in measured["cases"].items()
        if not case["upstream"]["refused"] and case["patched"]["error"] > further_than(case["upstream"]["error"], name)
    ]
    assert worse == []


@by_name(ALONE + WITH_ASCEND)
def test_the_output_has_the_form_that_the_release_gives(pair: Pair, measured: Any) -> None:
    cases = [case for case in measured["cases"].values() if not case["upstream"]["refused"]]
    assert [case["patched"]["shape"] for case in cases] == [case["upstream"]["shape"] for case in cases]
    assert all(case["patched"]["contiguous"] for case in cases)


@by_name(ALONE + WITH_ASCEND)
def test_layers_that_existed_before_do_as_those_made_after(pair: Pair, measured: Any) -> None:
    assert all(case["new layers like old ones"] for case in measured["cases"].values())


@by_name(ALONE + WITH_ASCEND)
def test_copies_from_the_device(pair: Pair, measured: Any) -> None:
    copies = {where: measured[where]["copies"] for where in ("alone", "in a call", "handed over")}
    assert copies == {"alone": LAYERS, "in a call": 1, "handed over": 0}
    assert measured["upstream"]["copies"] >= LAYERS


@by_name([pair for pair in WITH_ASCEND if is_in(pair, ">=0.18")])
def test_lengths_that_models_pass_on_cost_no_copy(pair: Pair, measured: Any) -> None:
    assert measured["passed on"]["copies"] == 0


@by_name([pair for pair in WITH_ASCEND if is_in(pair, ">=0.22")])
def test_encoder_graphs_are_captured_from_the_releases_own_code(pair: Pair, measured: Any) -> None:
    assert measured["captured"] == "release"


@by_name(WITH_ASCEND)
def test_dispatches_and_kernels_of_a_layer(pair: Pair, measured: Any) -> None:
    upstream = measured["upstream"]
    assert measured["alone"]["dispatches"] <= upstream["dispatches"]
    assert measured["handed over"]["dispatches"] < upstream["dispatches"]
    # A copy to the host is no kernel: the kernels are the release's. What is made once is shared out among the layers.
    for way in ("alone", "handed over"):
        assert measured[way]["kernels"] <= upstream["kernels"] + 0.2
    assert measured["handed over"]["kernels"] < 5.2
    assert measured["handed over"]["dispatches"] < 7.5


def wrong_upstream(pair: Pair) -> dict[str, str]:
    return {name: releases for name, releases in WRONG_UPSTREAM.items() if is_in(pair, releases)}


def is_wrong(outcome: dict[str, Any], name: str) -> bool:
    return bool(outcome["refused"]) or not outcome["error"] <= TOLERANCE[dtype_of(name)]


def further_than(error: float, name: str) -> float:
    """Two roundings of one number differ by the last digit of either."""
    return error + TOLERANCE[dtype_of(name)] / 4


@cache
def dtype_of(name: str) -> str:
    return name.rpartition(", ")[2]
