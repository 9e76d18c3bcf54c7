"""carry --prove: finds the tests of a change and of the release around them, and has them run on both sides."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ascend_patches.carrying import own_tests, patch_file, writing
from ascend_patches.carrying.change import Change, kind_of
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.own_tests import TreeOfTests
from ascend_patches.carrying.proven import Proof
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Result
from ascend_patches.commands import prove
from ascend_patches.errors import AscendPatchesError, CarryError
from ascend_patches.upstream import released_tests
from ascend_patches.upstream.downloads import NotThereError

_DISTRIBUTIONS = {"vllm_ascend": "vllm-ascend", "vllm": "vllm"}


def proof_of(
    result: Result,
    code: Code,
    roots: Sequence[str],
    name: str,
    clone: Clone | None,
    patch_text: str | None,
    wheels: str | None,
) -> Proof:
    """What the change's own tests show of what is carried; ``patch_text`` is the patch file that it was read from."""
    change = result.change
    if not own_tests.touches_tests(change):
        return Proof(problems=("there are no tests in this change, and so nothing to prove it by",))
    tree = _tree(change, code, roots, clone, wheels)
    if patch_text is not None:
        change = patch_file.read(patch_text, tree.code, change.source, "tests")
    tests = own_tests.of_change(change, tree)
    return prove.prove(tests, writing.contents(result, code, name), name, roots, say=_say)


def _tree(change: Change, code: Code, roots: Sequence[str], clone: Clone | None, wheels: str | None) -> TreeOfTests:
    """The tests of the release: of its tag in the clone, of an unpacked sdist that was named, or of its sdist."""
    products = [file.path for file in change.files if kind_of(file.path, code.packages) == "product"]
    package = products[0].partition("/")[0] if products else code.packages[0]
    name = _DISTRIBUTIONS.get(package, package)
    version = (code.versions.get(name) or "").partition("+")[0]
    tag = f"v{version}"
    if clone is not None and version and clone.has(tag):
        return own_tests.of_clone(clone, clone.commit(tag))
    for root in roots:
        folder = released_tests.of_unpacked(root)
        if folder is not None:
            return own_tests.of_folder(folder)
    try:
        return own_tests.of_folder(released_tests.folder_of(name, version, wheels))
    except NotThereError:
        raise CarryError(f"{name} {version}: no sdist of it, which has its tests; {_otherwise(clone, tag)}") from None
    except AscendPatchesError as error:
        raise CarryError(f"the tests of {name} {version} are needed: {error}; or {_otherwise(clone, tag)}") from None


def _otherwise(clone: Clone | None, tag: str) -> str:
    if clone is not None:
        return f"fetch the tag into the clone: git -C {clone.path} fetch origin tag {tag}"
    return f"name a clone that has the tag {tag}: --repo CLONE COMMIT"


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)
