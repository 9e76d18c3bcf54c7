"""The table of supported releases says nothing that cannot be so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.version import Version
from releases import dependencies, shims
from releases.errors import UnknownPairError
from releases.pairs import PAIRS, Pair, find

SCHEMAS = Path(__file__).parents[2] / "emulated_npu" / "schemas.json"
ALONE = [pair for pair in PAIRS if not pair.ascend]
WITH_ASCEND = [pair for pair in PAIRS if pair.ascend]


def test_every_release_has_one_line() -> None:
    names = [pair.name for pair in PAIRS]
    assert len(names) == len(set(names))


def test_releases_of_vllm_alone_are_in_order() -> None:
    versions = [Version(pair.vllm) for pair in ALONE]
    assert versions == sorted(versions)


def test_releases_of_vllm_ascend_are_in_order() -> None:
    versions = [Version(pair.ascend) for pair in WITH_ASCEND]
    assert versions == sorted(versions)


def test_no_minor_release_of_vllm_is_left_out() -> None:
    minors = {Version(pair.vllm).minor for pair in ALONE}
    assert minors == set(range(min(minors), max(minors) + 1))


@pytest.mark.parametrize("pair", WITH_ASCEND, ids=lambda pair: pair.name)
def test_a_vllm_ascend_comes_with_a_vllm_of_its_minor_release(pair: Pair) -> None:
    assert Version(pair.ascend).release[:2] == Version(pair.vllm).release[:2]


@pytest.mark.parametrize("pair", WITH_ASCEND, ids=lambda pair: pair.name)
def test_the_op_schemas_that_stand_in_for_a_torch_npu_are_known(pair: Pair) -> None:
    assert pair.emulated_torch_npu in json.loads(SCHEMAS.read_text("utf-8"))


@pytest.mark.parametrize("pair", ALONE, ids=lambda pair: pair.name)
def test_vllm_alone_gets_no_npu(pair: Pair) -> None:
    assert "emulated_npu" not in shims.names(pair)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_everything_a_release_needs_is_pinned(pair: Pair) -> None:
    assert all(Version(each.version) for each in dependencies.needed(pair))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_release_needs_no_distribution_twice(pair: Pair) -> None:
    names = [each.name for each in dependencies.needed(pair)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(shims.WANTED))
def test_a_shim_is_wanted_by_some_release_but_is_a_file_of_its_own(name: str) -> None:
    assert any(name in shims.names(pair) for pair in PAIRS)
    assert (Path(shims.__file__).parent / f"{name}.py").is_file()


def test_a_release_is_found_by_its_requirement() -> None:
    assert find("vllm-ascend==0.18.0").vllm == "0.18.0"


@pytest.mark.parametrize("name", ["0.18.0", "vllm", "vllm==0.0.1", "torch==2.13.0"])
def test_a_release_that_is_not_supported_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(UnknownPairError, match=r"is no supported release.*vllm==0\.13\.0"):
        find(name)
