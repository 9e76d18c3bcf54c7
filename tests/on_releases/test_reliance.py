"""What a replacement depends on is known, not believed: it is found out by running both sides on the release."""

from __future__ import annotations

import pytest
from on_releases.pairs_under_test import RUNNABLE, by_name
from releases.pairs import Pair
from releases.store import Store
from relying.found import dependencies, unknown

pytestmark = [pytest.mark.upstream, pytest.mark.costly]


@by_name(RUNNABLE)
def test_everything_that_a_replacement_depends_on_is_relied_on_or_harmless(pair: Pair, store: Store) -> None:
    assert list(map(str, unknown(dependencies(pair, store)))) == []
