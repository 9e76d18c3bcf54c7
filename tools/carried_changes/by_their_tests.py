"""Carried changes by their own tests: each on its release, without the patch and with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from releases import dependencies, runner
from releases.pairs import find
from releases.store import Distribution, Form, Store, default_root

from ascend_patches.carrying import own_tests
from ascend_patches.carrying.change import Change
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.proven import Proof
from ascend_patches.commands import prove

from .page import Tests
from .proving import Written

_BESIDE = (
    Distribution("numba", "0.68.1", Form.WHOLE),
    Distribution("llvmlite", "0.50.0", Form.WHOLE),
    Distribution("pytest-mock", "3.17.0", Form.WHOLE),
)
"""What upstream's tests import beside what the patches' own tests need."""


def has_own_tests(change: Change) -> bool:
    """Whether a change has tests that need neither a whole server nor a model."""
    return any(own_tests.can_run(file.path) for file in own_tests.touches_tests(change))


def prove_all(
    repo: str, release: str, patches: Mapping[str, Written], say: Callable[[str], None]
) -> Iterator[tuple[str, Proof]]:
    """The commit and the proof of every patch whose change has tests of its own, as they come."""
    store = Store(default_root(), runner.interpreter())
    pair = find(f"vllm-ascend=={release}")
    store.fetch([*dependencies.needed(pair), *_BESIDE], say)
    base = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
    base = runner.environment(pair, store, base)
    base["PYTHONPATH"] = os.pathsep.join([base["PYTHONPATH"], str(store.assemble("own-tests", _BESIDE))])
    with Clone(repo) as clone:
        around = own_tests.of_clone(clone, clone.commit(f"v{release}"))
        for commit, patch in patches.items():
            change = clone.change(commit)
            if not has_own_tests(change):
                continue
            tests = own_tests.of_change(change, around)
            proof = prove.prove(tests, patch.files, patch.name, (), base)
            say(f"{release} {commit} {proof.shown}: {'; '.join(proof.sentences)}: {change.subject}")
            for problem in proof.problems:
                say(f"    {problem}")
            yield commit, proof


def kept(proof: Proof) -> Tests:
    """What is kept of a proof: numbers, and no code of upstream's."""
    return Tests(shown=proof.shown, mended=proof.fixed, only_names=proof.only_found)
