"""The patch rotary-embedding on released code: what it mends, what it leaves as it was, and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

SCRIPT = Path(__file__).with_name("rotary_embedding_run.py")
ALONE = [find(f"vllm=={version}") for version in ("0.13.0", "0.14.1", "0.18.1", "0.24.0", "0.32.0")]
ASCEND = [
    find(f"vllm-ascend=={version}")
    for version in ("0.13.0", "0.14.0rc1", "0.18.0", "0.20.2rc1", "0.23.0", "0.24.0rc1", "0.29.0rc1", "0.30.0rc2")
]
EACH = ALONE + ASCEND
WRONG = 1.0
"""An error that no rounding makes: the inputs are of that size."""
ROUNDING = {"float32": 1e-6, "bfloat16": 2**-6}

pytestmark = pytest.mark.upstream


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What was seen of each release, which is run once."""
    return {}


@pytest.fixture
def seen(pair: Pair, on_pair: OnPair, known: dict[str, Any]) -> Any:
    if pair.name not in known:
        known[pair.name] = on_pair(pair, SCRIPT, ASCEND_PATCHES_ENABLE="rotary-embedding")
    return known[pair.name]


def cases(seen: Any, *, mended: bool) -> dict[str, Any]:
    return {name: case for name, case in seen["cases"].items() if (name in seen["mended"]) is mended}


@by_name(EACH)
def test_the_patch_is_applied(pair: Pair, seen: Any) -> None:
    assert seen["state"] == "applied"


@by_name(EACH)
def test_where_the_release_is_right_no_bit_changes(pair: Pair, seen: Any) -> None:
    assert {name for name, case in cases(seen, mended=False).items() if not case["bitwise"]} == set()


@by_name(EACH)
def test_everywhere_the_patched_release_is_as_near_to_float64_as_its_type_allows(pair: Pair, seen: Any) -> None:
    far = {
        name: case["patched"]
        for name, case in seen["cases"].items()
        if case["patched"]["refused"] or case["patched"]["error"] > ROUNDING[name.rpartition(", ")[2]]
    }
    assert far == {}


@by_name(EACH)
def test_it_is_never_farther_from_float64_than_the_release(pair: Pair, seen: Any) -> None:
    farther = {
        name: case
        for name, case in seen["cases"].items()
        if not case["upstream"]["refused"] and case["patched"]["error"] > case["upstream"]["error"]
    }
    assert farther == {}


@by_name(ASCEND)
def test_what_the_patch_changes_the_release_had_refused_or_turned_wrongly(pair: Pair, seen: Any) -> None:
    right = {
        name: case
        for name, case in cases(seen, mended=True).items()
        if not case["upstream"]["refused"] and case["upstream"]["error"] < WRONG
    }
    assert right == {}


@by_name(ALONE)
def test_what_the_patch_changes_vllm_alone_had_refused_or_rounded_more_often(pair: Pair, seen: Any) -> None:
    as_near = {
        name: case
        for name, case in cases(seen, mended=True).items()
        if not case["upstream"]["refused"] and case["upstream"]["error"] <= case["patched"]["error"]
    }
    assert as_near == {}


@by_name([pair for pair in ASCEND if pair.ascend < "0.30"])
def test_before_0_30_interleaved_pairs_were_taken_for_halves(pair: Pair, seen: Any) -> None:
    assert seen["cases"]["interleaved, no batch, computed in float32, float32"]["upstream"]["error"] > WRONG


@by_name([pair for pair in ASCEND if pair.ascend < "0.24"])
def test_before_0_24_cos_and_sin_had_to_cover_the_head(pair: Pair, seen: Any) -> None:
    assert seen["cases"]["partial, float32"]["upstream"]["refused"] == "RuntimeError"


@by_name([find("vllm-ascend==0.13.0")])
def test_in_0_13_query_and_key_had_to_come_together(pair: Pair, seen: Any) -> None:
    assert seen["cases"]["one row, float32"]["upstream"]["refused"] == "EinopsError"


@by_name(EACH)
def test_the_output_has_the_shape_that_the_release_gives_it(pair: Pair, seen: Any) -> None:
    reshaped = {
        name: case
        for name, case in seen["cases"].items()
        if not case["upstream"]["refused"] and case["patched"]["shape"] != case["upstream"]["shape"]
    }
    assert reshaped == {}


@by_name(EACH)
def test_the_output_is_contiguous(pair: Pair, seen: Any) -> None:
    assert {name for name, case in seen["cases"].items() if not case["patched"]["contiguous"]} == set()


@by_name(EACH)
def test_in_an_encoder_call_a_layer_is_one_kernel(pair: Pair, seen: Any) -> None:
    whole = {name: seen["costs"]["in a call"][name]["kernels"] for name in ("stacked", "no batch", "tables in float32")}
    assert {name: int(kernels) for name, kernels in whole.items()} == dict.fromkeys(whole, 1)


@by_name(EACH)
def test_outside_of_calls_it_costs_no_more_kernels_than_the_release(pair: Pair, seen: Any) -> None:
    upstream, ours = seen["costs"]["upstream"], seen["costs"]["outside of calls"]
    dearer = {
        name: (upstream[name], ours[name])
        for name in ours
        if upstream[name] is not None and ours[name]["kernels"] > upstream[name]["kernels"]
    }
    assert dearer == {}


@by_name(EACH)
def test_compiled_it_is_one_graph_and_compiles_no_more_often_than_the_release(pair: Pair, seen: Any) -> None:
    graphs = dict(seen["graphs"])
    most = graphs.pop("upstream")["graphs"]
    assert {name: each for name, each in graphs.items() if each["graphs"] > most} == {}


@by_name(EACH)
def test_compiled_it_keeps_nothing_in_a_call(pair: Pair, seen: Any) -> None:
    assert {each["kept"] for each in seen["graphs"].values()} == {0}
