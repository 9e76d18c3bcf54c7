"""A real ``vllm serve`` that the toolkit reached in any of its ways answers like one without it, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving.questions import AT_ONCE, ONE_BY_ONE, STREAMED
from serving.served_engines import SERVING, Engines, Seen, Serve
from serving.serving_site import Site
from serving.vllm_processes import ENGINE_CORE, FRONT_END, WORKER

pytestmark = pytest.mark.engine

WAYS = ("run", "plugin", pytest.param(".pth", marks=pytest.mark.long))
HOW_REPORTED = {"run": "sitecustomize", "plugin": "vllm plugin", ".pth": ".pth"}


def test_the_server_to_compare_with_has_nothing_of_the_toolkit_on(unpatched: Seen) -> None:
    assert (unpatched.reports, unpatched.complaints) == ([], [])


def test_the_images_make_a_difference_to_the_answers(unpatched: Seen) -> None:
    assert len(set(unpatched.tokens)) == len(unpatched.tokens)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", [ONE_BY_ONE, AT_ONCE, STREAMED])
def test_the_tokens_are_those_of_the_unpatched_server(asked: str, way: str, served: Serve, unpatched: Seen) -> None:
    patched, plain = (seen.answers[asked] for seen in (served(way), unpatched))
    assert [answer.tokens for answer in patched] == [answer.tokens for answer in plain]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", [ONE_BY_ONE, AT_ONCE, STREAMED])
def test_the_logprobs_are_those_of_the_unpatched_server(asked: str, way: str, served: Serve, unpatched: Seen) -> None:
    # On vLLM alone the patches call torch_npu's attention, which rounds otherwise than the one for CPUs.
    for patched, plain in zip(served(way).answers[asked], unpatched.answers[asked], strict=True):
        assert patched.logprobs == pytest.approx(plain.logprobs, abs=1e-4)
        assert patched.alternatives == plain.alternatives


@pytest.mark.parametrize("way", WAYS)
def test_a_request_without_images_is_answered_bit_for_bit(way: str, served: Serve, unpatched: Seen) -> None:
    assert served(way).answers[ONE_BY_ONE][0] == unpatched.answers[ONE_BY_ONE][0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("patch", SERVING)
def test_the_patch_is_on_in_every_process(patch: str, way: str, served: Serve) -> None:
    states = served(way).states(patch)
    assert {role: states[role] for role in (FRONT_END, ENGINE_CORE, WORKER)} == {
        FRONT_END: "applied",
        ENGINE_CORE: "applied",
        WORKER: "applied",
    }


@pytest.mark.parametrize("way", WAYS)
def test_every_process_says_how_it_was_reached(way: str, served: Serve) -> None:
    assert {data["activated_by"] for _, data in served(way).reports} == {HOW_REPORTED[way]}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_complained_of(way: str, served: Serve) -> None:
    seen = served(way)
    assert (seen.complaints, [data["problems"] for _, data in seen.reports if data["problems"]]) == ([], [])


def test_two_tensor_parallel_workers_serve_patched(served: Serve, unpatched: Seen) -> None:
    seen = served("run, two workers")
    assert seen.processes == [ENGINE_CORE, FRONT_END, WORKER, WORKER]
    assert all(applied >= set(SERVING) for applied in seen.applied())


@pytest.mark.parametrize("asked", [ONE_BY_ONE, AT_ONCE, STREAMED])
def test_two_tensor_parallel_workers_answer_like_one_that_is_unpatched(
    asked: str, served: Serve, unpatched: Seen
) -> None:
    parallel, plain = (seen.answers[asked] for seen in (served("run, two workers"), unpatched))
    assert [answer.tokens for answer in parallel] == [answer.tokens for answer in plain]


@pytest.mark.long
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_script_that_applies_the_patches_itself_has_them_in_every_process(
    method: str, engines: Engines, bare: Site, unpatched: Seen, tmp_path: Path
) -> None:
    seen = engines.script(bare, tmp_path, "--apply-patches", VLLM_WORKER_MULTIPROC_METHOD=method)
    assert seen.start_method == method
    assert seen.processes == [ENGINE_CORE, FRONT_END, WORKER]
    assert all(applied >= set(SERVING) for applied in seen.applied())
    assert seen.tokens == unpatched.tokens
