"""mla-multistream on vllm-ascend 0.9.1rc1: no number tells whether it does its work, so the order is asserted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from on_releases.mla_multistream_run import LEFT_ALONE, MUTANTS, TERMS
from on_releases.pairs_under_test import OnPair
from releases.pairs import find

from ascend_patches.patches.mla_multistream.declaration import PATCH
from ascend_patches.upstream.environment import Environment

SCRIPT = Path(__file__).with_name("mla_multistream_run.py")
pytestmark = pytest.mark.upstream

BEFORE = """\
main   mm(hidden, q_a_proj)
main   wait(hidden, ckq)
second npu_rms_norm(ckq, q_a_layernorm)
main   index(cos_table, positions)
main   index(sin_table, positions)
main   wait(q_c, cos)
main   wait(q_c, sin)
main   mm(q_c, q_b_proj)
main   bmm(q, W_UK_T)
main   mm(hidden, kv_a_proj_with_mqa)
second _to_copy(slots)
second npu_kv_rmsnorm_rope_cache(kv, kv_a_layernorm, cos, sin, slots, ropes, latents)
second wait(q, ropes)
second npu_interleave_rope(q, cos, sin)
main   npu_fused_infer_attention_score(blocks, q_pe, ropes, q_nope, latents, latents)
main   bmm(attended, W_UV)
main   clone(values)
main   mm(values, o_proj)""".splitlines()

QUERY_AND_CACHE = """\
main   npu_prefetch(q_a_proj, hidden, 12288 bytes)
main   mm(hidden, q_a_proj)
main   npu_rms_norm(ckq, q_a_layernorm)
main   index(cos_table, positions)
main   index(sin_table, positions)
second wait(hidden, ckq)
second mm(hidden, kv_a_proj_with_mqa)
second _to_copy(slots)
second npu_kv_rmsnorm_rope_cache(kv, kv_a_layernorm, cos, sin, slots, ropes, latents)
main   wait(q_c, cos)
main   wait(q_c, sin)
main   wait(q_c, kv)
main   mm(q_c, q_b_proj)
main   bmm(q, W_UK_T)
second wait(q, ropes)
second npu_interleave_rope(q, cos, sin)""".splitlines()

ATTENTION = ["main   npu_fused_infer_attention_score(blocks, q_pe, ropes, q_nope, latents, latents)"]
OF_SEVERAL_TOKENS = ["main   clone(q_nope)", "main   clone(q_pe)"]
OUTPUT = """\
main   bmm(attended, W_UV)
main   clone(values)
main   npu_prefetch(o_proj, values, 131072 bytes)
main   mm(values, o_proj)""".splitlines()

# In a graph an operand that has waited is marked, once for each wait: the mark is the wait's user.
WAITED = {
    "second mm(hidden, kv_a_proj_with_mqa)": "second mm(hidden', kv_a_proj_with_mqa)",
    "main   wait(q_c, sin)": "main   wait(q_c', sin)",
    "main   wait(q_c, kv)": "main   wait(q_c'', kv)",
    "main   mm(q_c, q_b_proj)": "main   mm(q_c''', q_b_proj)",
    "second npu_interleave_rope(q, cos, sin)": "second npu_interleave_rope(q', cos, sin)",
}
ATTENTION_IN_GRAPH = ["main   npu_fused_infer_attention_score(q_nope, latents, blocks, q_pe, ropes)"]


@pytest.fixture(scope="module")
def seen(on_pair: OnPair) -> Any:
    return on_pair(find("vllm-ascend==0.9.1rc1"), SCRIPT, ASCEND_PATCHES_RELEASE_FLOAT32="1")


def in_graph(lines: list[str]) -> list[str]:
    return [WAITED.get(line, line) for line in lines]


def test_is_applied(seen: Any) -> None:
    assert seen["state"] == "applied"


def test_upstream_projects_keys_and_values_after_the_query_and_fetches_nothing(seen: Any) -> None:
    assert seen["before"]["order"] == BEFORE


def test_keys_and_values_are_on_the_second_stream_beside_the_query_and_weights_are_fetched(seen: Any) -> None:
    assert seen["after"]["order"] == QUERY_AND_CACHE + ATTENTION + OUTPUT


def test_speculative_decoding_takes_the_same_way(seen: Any) -> None:
    assert seen["speculating"]["order"] == QUERY_AND_CACHE + OF_SEVERAL_TOKENS + ATTENTION + OUTPUT


def test_the_graph_for_torchair_is_whole_and_has_the_same_order_and_a_user_for_every_wait(seen: Any) -> None:
    assert seen["compiled"]["order"] == in_graph(QUERY_AND_CACHE) + ATTENTION_IN_GRAPH + OUTPUT


def test_so_has_the_graph_of_speculative_decoding(seen: Any) -> None:
    expected = in_graph(QUERY_AND_CACHE) + OF_SEVERAL_TOKENS + ATTENTION_IN_GRAPH + OUTPUT
    assert seen["speculating compiled"]["order"] == expected


@pytest.mark.parametrize("after", ["after", "compiled"])
def test_output_and_both_caches_are_bitwise_upstreams(seen: Any, after: str) -> None:
    assert seen[after]["numbers"] == seen["before"]["numbers"]
    assert set(seen[after]["numbers"]) == {"output", "latents", "ropes"}


def test_so_are_they_in_both_dtypes_and_cache_formats_and_with_guesses(seen: Any) -> None:
    assert len(seen["numbers before"]) == 2 * 2 * 2 * 3
    assert seen["numbers after"] == seen["numbers before"]


def test_compiling_does_not_change_the_numbers_of_speculative_decoding(seen: Any) -> None:
    assert seen["speculating compiled"]["numbers"] == seen["speculating"]["numbers"]


def test_compiles_no_more_often_than_upstream(seen: Any) -> None:
    assert seen["compilations"] == {"before": 1, "after": 1}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_is_not_to_be_seen_where_it_has_nothing_to_do(seen: Any, case: str) -> None:
    assert seen["left alone after"][case] == seen["left alone before"][case]


@pytest.mark.parametrize("term", [term for term in TERMS if term != "all hold"])
def test_each_term_of_the_gate_alone_hands_the_call_to_upstream_as_it_came(seen: Any, term: str) -> None:
    assert seen["reaches upstream"][term]


def test_a_call_without_metadata_is_handed_to_upstream(seen: Any) -> None:
    assert seen["no metadata reaches upstream"]


def test_the_gate_is_open_where_every_term_holds(seen: Any) -> None:
    assert not seen["reaches upstream"]["all hold"]


def test_leaves_nothing_on_the_instances(seen: Any) -> None:
    assert seen["instance"] == []


@pytest.mark.parametrize(
    ("weight", "sizes"),
    [
        ("of one byte each, too large", [16 * 2**20]),
        ("of two bytes each, too large", [16 * 2**20]),
        ("of two bytes each, just right", [16 * 2**20]),
        ("of four bytes each, small", [4000]),
        ("empty", []),
    ],
)
def test_o_proj_is_fetched_up_to_16_mib_by_the_size_of_its_elements(seen: Any, weight: str, sizes: list[int]) -> None:
    assert seen["prefetched"][weight] == sizes


class TestCachedGraphs:
    """torchair finds a cached graph by the text of the model."""

    def test_a_graph_from_before_the_patch_is_not_found(self, seen: Any) -> None:
        assert seen["text"]["patched"] != seen["text"]["upstream"]

    def test_nor_is_a_patched_one_after_the_removal(self, seen: Any) -> None:
        assert seen["text"]["after undo"] == seen["text"]["upstream"]

    def test_nor_one_of_other_code_of_the_patch(self, seen: Any) -> None:
        names = set(seen["code in text"].values())
        assert len(names) == 3
        assert not any(name in seen["text"]["patched"] for name in names)

    def test_the_text_differs_by_one_line_only(self, seen: Any) -> None:
        extra = set(seen["text"]["patched"].splitlines()) - set(seen["text"]["upstream"].splitlines())
        assert [line.split()[0] for line in extra] == ["mla-multistream"]

    def test_without_multistream_graphs_are_upstreams_and_found_as_before(self, seen: Any) -> None:
        assert seen["text"]["not configured"] == seen["text"]["upstream"]

    def test_a_layer_made_before_the_patch_has_upstreams_text_and_runs_upstreams_code(self, seen: Any) -> None:
        assert seen["made before the patch"] == seen["before"]


def test_undone_it_is_gone(seen: Any) -> None:
    assert seen["after undo"] == seen["before"]


@pytest.mark.parametrize("mutant", MUTANTS)
class TestMutants:
    """What goes wrong without a number that tells is seen in the order, eager and in the graph."""

    def test_keeps_every_number(self, seen: Any, mutant: str) -> None:
        found = seen["mutants"][mutant]
        assert found["eager"]["numbers"] == found["compiled"]["numbers"] == seen["before"]["numbers"]

    def test_is_seen_in_the_order(self, seen: Any, mutant: str) -> None:
        assert seen["mutants"][mutant]["eager"]["order"] != seen["after"]["order"]

    def test_is_seen_in_the_graph(self, seen: Any, mutant: str) -> None:
        assert seen["mutants"][mutant]["compiled"]["order"] != seen["compiled"]["order"]


@pytest.mark.parametrize(
    ("release", "native", "reason"),
    [
        ("0.8.5rc1", False, "one stream before vllm-ascend 0.9.1rc1"),
        ("0.9.0rc2", False, "one stream before vllm-ascend 0.9.1rc1"),
        ("0.9.1rc2", True, "native since vllm-ascend 0.9.1rc2"),
        ("0.9.1", True, "native since vllm-ascend 0.9.1rc2"),
        ("0.10.0rc1", True, "native since vllm-ascend 0.9.1rc2"),
        ("0.10.1rc1", True, "in vllm_ascend.torchair.torchair_mla"),
        ("0.11.0", True, "in vllm_ascend.torchair.torchair_mla"),
        ("0.12.0rc1", False, "torchair, whose graphs have the streams, was dropped in vllm-ascend 0.12"),
        ("0.13.0", False, "see mla-kv-overlap"),
        ("0.30.0rc2", False, "see mla-kv-overlap"),
    ],
)
def test_other_releases_are_told_why_there_is_nothing_to_do(release: str, native: bool, reason: str) -> None:
    where = Environment({"vllm-ascend": release})
    exemption = PATCH.exemption(where)
    assert exemption is not None
    assert (exemption.native, reason in exemption.why) == (native, True)
    assert PATCH.proposed(where) == []


def test_the_release_itself_is_not_exempt() -> None:
    assert PATCH.exemption(Environment({"vllm-ascend": "0.9.1rc1+empty"})) is None


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT.parents[2] / "tools" / "bench_mla"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_bench_mla_prints_the_order_before_and_after_side_by_side() -> None:
    printed = [line.rstrip() for line in bench("vllm-ascend==0.9.1rc1").stdout.splitlines()]
    table = printed[printed.index(next(line for line in printed if line.startswith("BEFORE"))) + 1 :]
    assert [line[:90].rstrip() for line in table[: len(BEFORE)]] == BEFORE
    assert [line[90:].strip() for line in table if line] == QUERY_AND_CACHE + ATTENTION + OUTPUT


def test_bench_mla_refuses_a_release_that_it_does_not_know() -> None:
    result = bench("vllm-ascend==0.0.1")
    assert result.returncode == 2
    assert "'vllm-ascend==0.0.1' is no supported release" in result.stderr


def test_bench_mla_prints_what_the_overlap_adds_to_the_host_s_time() -> None:
    result = bench("--host", "vllm-ascend==0.18.0")
    assert result.returncode == 0, result.stderr
    said = r"preparing a decode step: [\d.]+ -> [\d.]+ us per layer, -?[\d.]+ us more; -?[\d.]+ ms per eager step of 61"
    assert re.search(said, result.stdout)
