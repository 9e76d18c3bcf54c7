"""mla-kv-overlap on every vllm-ascend from 0.13: streams, events and memory, since no number can tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from on_releases.mla_kv_overlap_run import MUTANTS
from on_releases.pairs_under_test import RUNNABLE, OnPair
from releases import runner
from releases.pairs import Pair, find
from releases.store import Store

from ascend_patches.patches.mla_kv_overlap.declaration import PATCH
from ascend_patches.upstream.environment import Environment

SCRIPT = Path(__file__).with_name("mla_kv_overlap_run.py")
PAIRS = [pair for pair in RUNNABLE if pair.ascend and pair.ascend != "0.9.1rc1"]
WITHOUT_PREFETCH = ("0.24", "0.25", "0.26", "0.27", "0.28", "0.29", "0.30")
pytestmark = pytest.mark.upstream

KEYS = """\
_to_copy(slots)
npu_kv_rmsnorm_rope_cache(kv, kv_a_layernorm, cos, sin, slots, ropes, latents)""".splitlines()
QUERY = """\
mm(q_c, q_proj)
bmm(q, W_UK_T)
npu_interleave_rope(q, cos, sin)""".splitlines()
VALUES = ["npu_transpose_batchmatmul(attended, W_UV)"]


def on(stream: str, lines: list[str]) -> list[str]:
    return [f"{stream:<6} {line}" for line in lines]


BEFORE = on("main", QUERY + KEYS + VALUES)
FORK = [*on("main", ["event.record(1)"]), *on("second", ["event.wait(1)"])]
OVERLAPPED = [*on("second", KEYS), *on("main", QUERY)]
JOIN = [*on("second", ["event.record(2)"]), *on("main", ["event.wait(2)"])]
INPUTS_KEPT = on("second", [f"record_stream({name})" for name in ("kv", "cos", "sin", "slots")])
RESULTS_KEPT = on("main", ["record_stream(ropes)", "record_stream(latents)"])
AFTER = [*FORK, *INPUTS_KEPT, *OVERLAPPED, *JOIN, *RESULTS_KEPT, *on("main", VALUES)]
CAPTURED = [*FORK, *OVERLAPPED, *JOIN, *on("main", VALUES)]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: pair.name.replace("==", "-"))
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.param
    return found


@pytest.fixture(scope="module")
def seen(pair: Pair, on_pair: OnPair) -> Any:
    """What the script sees on the pair, in one process for all tests."""
    return on_pair(pair, SCRIPT, ASCEND_PATCHES_ENABLE="mla-kv-overlap", ASCEND_PATCHES_RELEASE_FLOAT32="1")


def test_is_applied(seen: Any) -> None:
    assert seen["state"] == "applied"


def test_upstream_does_everything_on_one_stream(seen: Any) -> None:
    assert seen["before"]["order"] == BEFORE


def test_the_cache_is_written_on_the_second_stream_and_joined_before_the_query_is_used(seen: Any) -> None:
    assert seen["after"]["order"] == AFTER


def test_nothing_touches_the_same_bytes_in_no_certain_order(seen: Any) -> None:
    assert seen["after"]["races"] == 0


def test_what_follows_comes_after_both_streams(seen: Any) -> None:
    assert seen["after"]["joined"]


def test_every_number_is_bitwise_upstreams(seen: Any) -> None:
    assert seen["after"]["numbers"] == seen["before"]["numbers"]


def test_all_layers_share_one_second_stream(seen: Any) -> None:
    assert seen["streams"] == 2


def test_leaves_nothing_on_the_instance(seen: Any) -> None:
    assert seen["attributes"] == []


def test_a_graph_is_captured_with_both_streams_joined_and_no_memory_held_back(seen: Any) -> None:
    captured = seen["captured"]
    assert captured["order"] == CAPTURED
    assert captured["streams"] == 2
    assert captured["joined"]
    assert captured["left on the capturing stream"]


@pytest.mark.parametrize("where", ["the cache", "the projection", "the rope"])
def test_an_exception_is_passed_on_with_the_streams_joined(seen: Any, where: str) -> None:
    assert seen["failing"][where] == {"raised": True, "joined": True, "stream after": 0}


def test_context_parallelism_quantised_and_written_caches_are_left_to_upstream(seen: Any) -> None:
    assert seen["left alone after"] == seen["left alone before"]
    assert not any("event" in line for lines in seen["left alone after"].values() for line in lines)


def test_prefetch_brings_o_proj_back_where_the_release_dropped_it(seen: Any, pair: Pair) -> None:
    dropped = pair.ascend.startswith(WITHOUT_PREFETCH)
    assert seen["prefetch"]["True"] == (["main   npu_prefetch(o_proj, values, 131072 bytes)"] if dropped else [])


@pytest.mark.parametrize("case", ["False", "of context parallelism"])
def test_nothing_is_prefetched_otherwise(seen: Any, case: str) -> None:
    assert seen["prefetch"][case] == []


def test_undone_it_is_gone(seen: Any) -> None:
    assert seen["after undo"] == seen["before"]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_that_keeps_the_numbers_is_seen(seen: Any, mutant: str) -> None:
    wrong, right = seen["mutants"][mutant], seen["after"]
    assert wrong["numbers"] == right["numbers"]
    failures_joined = all(outcome["joined"] for outcome in wrong["failing"].values())
    assert wrong["order"] != right["order"] or not failures_joined


@pytest.mark.parametrize("mutant", ["started too early", "never joined", "joined before the work"])
def test_a_missing_event_is_a_race(seen: Any, mutant: str) -> None:
    assert seen["mutants"][mutant]["races"] > 0


@pytest.mark.parametrize(
    ("versions", "native", "reason"),
    [
        ({"vllm": "0.18.1"}, False, "vllm-ascend's, which is not installed"),
        ({"vllm-ascend": "0.9.1rc1"}, False, "there is mla-multistream"),
        ({"vllm-ascend": "0.9.2rc1"}, True, "native since vllm-ascend 0.9.1rc2 under torchair"),
        ({"vllm-ascend": "0.11.0"}, True, "native since vllm-ascend 0.9.1rc2 under torchair"),
        ({"vllm-ascend": "0.12.0rc1"}, False, "0.12 was a candidate only"),
    ],
)
def test_releases_outside_the_range_are_told_why(versions: dict[str, str | None], native: bool, reason: str) -> None:
    exemption = PATCH.exemption(Environment(versions))
    assert exemption is not None
    assert (exemption.native, reason in exemption.why) == (native, True)


def test_a_release_that_nobody_has_seen_is_not_exempt_and_not_served() -> None:
    where = Environment({"vllm-ascend": "0.31.0"})
    assert (PATCH.exemption(where), PATCH.proposed(where)) == (None, [])


def test_is_off_unless_asked_for_and_says_how_to_measure() -> None:
    assert not PATCH.default
    assert "tools/bench_mla --here" in PATCH.why


def test_the_measurement_on_ones_own_npu_prints_both_ways_side_by_side(store: Store) -> None:
    environ = runner.environment(find("vllm-ascend==0.18.0"), store, os.environ)
    command = [sys.executable, str(SCRIPT.parents[2] / "tools" / "bench_mla"), "--here"]
    few = ["--tokens", "1", "--rounds", "1", "--repeats", "1", "--heads", "32", "--query-rank", "96"]
    printed = subprocess.run([*command, *few], env=environ, capture_output=True, text=True, timeout=300)
    assert printed.returncode == 0, printed.stderr
    table = [line.split() for line in printed.stdout.splitlines()]
    assert ["tokens", "upstream", "overlap", "ratio"] in table
    for way in ("eager", "graph"):
        (times,) = (line for line in table if line[:2] == ["1", way])
        assert len(list(map(float, times[2:]))) == 3
