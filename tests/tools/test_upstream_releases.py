"""Every supported release can be imported on this machine, with what patches change in it."""

from __future__ import annotations

import sys

import pytest
from releases import proof, runner
from releases.pairs import PAIRS, Pair
from releases.store import Store, default_root

pytestmark = pytest.mark.upstream


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_release_imports(pair: Pair) -> None:
    runner.check(sys.executable)
    assert proof.failure(pair, Store(default_root(), runner.interpreter())) == ""
