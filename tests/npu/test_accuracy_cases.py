"""Host lengths survive every case that is known to have broken a cache of them, and the cases do break such caches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from npu.accuracy_cases import CASES, Encoders, WrongResultError
from npu.attention_layers import Layer
from npu.wrong_caches import CACHES, ByAddress, ByLayerIndex, ByObject, ByShape

from ascend_patches.npu.encoder_call import encoder_call


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    yield
    for cache in CACHES:
        cache.kept.clear()
    ByObject.alive.clear()


def failure(scenario: str, layer: type[Layer]) -> BaseException | None:
    """How a scenario fails with layers of that kind, or None."""
    try:
        CASES[scenario](Encoders(layer, contextlib.nullcontext))
    except (WrongResultError, ValueError, RuntimeError, KeyError, TypeError) as problem:
        return problem
    return None


@pytest.mark.parametrize("scenario", CASES)
def test_right_within_an_encoder_call(scenario: str) -> None:
    CASES[scenario](Encoders(Layer, encoder_call))


@pytest.mark.parametrize("scenario", CASES)
def test_right_where_nobody_opens_an_encoder_call(scenario: str) -> None:
    CASES[scenario](Encoders(Layer, contextlib.nullcontext))


@pytest.mark.parametrize("scenario", CASES)
def test_a_cache_by_layer_index_fails(scenario: str) -> None:
    assert failure(scenario, ByLayerIndex) is not None


@pytest.mark.parametrize(
    ("scenario", "cache"),
    [
        ("case_09_equal_totals_in_another_split", ByShape),
        ("case_10_a_new_tensor_at_the_address_of_an_old_one", ByAddress),
        ("case_11_a_buffer_that_is_updated_in_place", ByObject),
    ],
)
def test_a_cache_with_another_key_fails(scenario: str, cache: type[Layer]) -> None:
    assert isinstance(failure(scenario, cache), WrongResultError)


def test_all_sixteen_cases_are_there() -> None:
    assert {name.split("_")[1] for name in CASES} == {f"{number:02}" for number in range(1, 17)}
