"""Nothing is indexed by what an asynchronous copy from ordinary memory may still write, as on a 310P in RC mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find

SCRIPT = Path(__file__).with_name("pageable_copies_run.py")
SHOWN = find("vllm-ascend==0.18.0")
PAIRS = [
    find("vllm-ascend==0.13.0"),
    SHOWN,
    find("vllm-ascend==0.23.0"),
    find("vllm-ascend==0.26.0rc1"),
    find("vllm-ascend==0.30.0rc2"),
]
pytestmark = pytest.mark.upstream
_ran: dict[str, Any] = {}


@pytest.fixture
def found(pair: Pair, on_pair: OnPair) -> Any:
    if pair.name not in _ran:
        _ran[pair.name] = on_pair(pair, SCRIPT)
    return _ran[pair.name]


@by_name(PAIRS)
def test_no_encoder_is_indexed_by_an_unfinished_copy(found: Any) -> None:
    assert {name: each["patched"]["indexed"] for name, each in found.items() if each["patched"]["indexed"]} == {}


@by_name(PAIRS)
def test_no_encoder_has_more_such_copies_than_upstream(found: Any) -> None:
    assert [name for name, each in found.items() if each["patched"]["copies"] > each["upstream"]["copies"]] == []


@by_name([SHOWN])
def test_an_encoder_that_is_indexed_so_is_seen(found: Any) -> None:
    assert set(found["Qwen3-VL"]["upstream"]["indexed"]) == {"index"}
