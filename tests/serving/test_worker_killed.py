"""A worker that is killed while it serves: what vLLM makes of it is vLLM's own, patched or not."""

from __future__ import annotations

import pytest
from serving.served_engines import SERVING, Seen, Serve

pytestmark = pytest.mark.engine


def test_the_client_hears_of_it_as_from_an_unpatched_server(served: Serve, unpatched: Seen) -> None:
    assert unpatched.heard_of_the_death.startswith("APIError: EngineCore encountered an issue")
    assert served("run").heard_of_the_death == unpatched.heard_of_the_death


def test_the_server_ends_as_an_unpatched_one_does(served: Serve, unpatched: Seen) -> None:
    assert unpatched.exit_code is not None
    assert served("run").exit_code == unpatched.exit_code


@pytest.mark.long
def test_after_a_restart_the_patches_are_on_again(served: Serve, unpatched: Seen) -> None:
    served("run")
    again = served("run, again")
    assert all(applied >= set(SERVING) for applied in again.applied())
    assert again.tokens == unpatched.tokens
