"""What the release's own patches replace: a carried patch counts on what is there in a process, and goes on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from carrying.made_releases import Files, carried, code, only

from ascend_patches.carrying import writing
from ascend_patches.carrying.release_patches import Replaced, source_is_there
from ascend_patches.upstream import fingerprints

RUNNER = "vllm_ascend/runner.py"
PATCHES = "vllm_ascend/patch/worker/__init__.py"
CORE = {
    "vllm/core.py": """
        class Core:
            def go(self):
                return 1

        def step(x):
            return x
    """,
    "vllm/api.py": "from vllm.core import Core\nfrom vllm import core\n",
}
BEFORE = """
    from vllm.core import step


    class Runner:
        def run(self):
            return step(1)
"""
AFTER = BEFORE.replace("step(1)", "step(2)")
NEW = "def new(*arguments):\n    return 7\n\n\n"
NEW_CODE = fingerprints.of_source(NEW, "new")


def release(patch: str, imported: str = "from vllm_ascend.patch.worker import patch_core\n") -> Files:
    return {**CORE, RUNNER: BEFORE, "vllm_ascend/patch/worker/patch_core.py": patch, PATCHES: imported}


@pytest.mark.parametrize(
    ("patch", "target", "certain"),
    [
        ("import vllm.core\nvllm.core.step = new\n", "vllm.core:step", True),
        ("from vllm import core as c\nc.step = new\n", "vllm.core:step", True),
        ("from vllm import core\nsetattr(core, 'step', new)\n", "vllm.core:step", True),
        ("import sys\ncore = sys.modules['vllm.core']\ncore.step = new\n", "vllm.core:step", True),
        ("import importlib\nimportlib.import_module('vllm.core').step = new\n", "vllm.core:step", True),
        ("from vllm.api import Core\nCore.go = new\n", "vllm.core:Core.go", True),
        ("import vllm.api\nvllm.api.Core.go = new\n", "vllm.core:Core.go", True),
        ("import vllm.api\nvllm.api.core.step = new\n", "vllm.core:step", True),
        ("from vllm.core import Core\nIt = Core\nIt.go = staticmethod(new)\n", "vllm.core:Core.go", True),
        ("def put():\n    from vllm import core\n    core.step = new\n\nput()\n", "vllm.core:step", True),
        ("def put():\n    from vllm import core\n    core.step = new\n", "vllm.core:step", False),
        ("from vllm import core\nif hasattr(core, 'x'):\n    core.step = new\n", "vllm.core:step", False),
        ("from vllm import core\ntry:\n    core.step = new\nexcept OSError:\n    pass\n", "vllm.core:step", True),
        ("def put(module):\n    module.step = new\n", "vllm.core:step", False),
    ],
)
def test_what_a_patch_module_sets_is_found(tmp_path: Path, patch: str, target: str, certain: bool) -> None:
    found = Replaced(code(tmp_path, release(NEW + patch))).of(target)
    known = "" if "put(module)" in patch else NEW_CODE
    assert [(each.fingerprint, each.certain) for each in found] == [(known, certain)]


def test_a_patch_module_that_some_releases_do_not_import_is_not_certain(tmp_path: Path) -> None:
    imported = "if wanted():\n    from vllm_ascend.patch.worker import patch_core\n"
    found = Replaced(code(tmp_path, release(f"{NEW}import vllm.core\nvllm.core.step = new\n", imported)))
    assert [each.certain for each in found.of("vllm.core:step")] == [False]


def test_a_class_that_is_replaced_takes_its_methods_along(tmp_path: Path) -> None:
    found = Replaced(code(tmp_path, release("import vllm.core\nclass Mine: pass\nvllm.core.Core = Mine\n")))
    assert [each.fingerprint for each in found.of("vllm.core:Core.go")] == [""]
    assert not found.of("vllm.core:step")


def test_what_is_replaced_is_relied_on_in_both_forms(tmp_path: Path) -> None:
    files = release(f"{NEW}import vllm.core\nvllm.core.step = new\n")
    result = carried(tmp_path, files, {RUNNER: BEFORE}, {RUNNER: AFTER})
    own = fingerprints.of_source("def step(x):\n    return x\n", "step")
    declared = writing.contents(result, code(tmp_path, files), "carried-123")["carried_123/__init__.py"]
    assert f"'vllm.core:step': {(own, NEW_CODE)!r}" in declared


def test_what_is_replaced_by_something_unknown_is_not_relied_on_and_the_readme_says_so(tmp_path: Path) -> None:
    files = release("def put(module):\n    module.step = lambda x: 7\n")
    result = carried(tmp_path, files, {RUNNER: BEFORE}, {RUNNER: AFTER})
    written = writing.contents(result, code(tmp_path, files), "carried-123")
    assert "vllm.core:step" not in written["carried_123/__init__.py"]
    assert "`vllm.core:step`: vllm_ascend/patch/worker/patch_core.py may replace it" in written["README.md"]


@pytest.mark.parametrize(
    ("condition", "verdict", "said"),
    [("", "cannot", "replaces it"), ("if vllm.core:\n    ", "exact", "may replace it")],
)
def test_a_target_that_the_release_replaces_is_refused_or_asks_for_a_review(
    tmp_path: Path, condition: str, verdict: str, said: str
) -> None:
    files = release(f"{NEW}import vllm.core\n{condition}vllm.core.step = new\n")
    before = {"vllm/core.py": CORE["vllm/core.py"]}
    after = {"vllm/core.py": CORE["vllm/core.py"].replace("return x", "return x + 1")}
    result = carried(tmp_path, files, before, after)
    definition = only(result)
    assert (result.verdict, definition.verdict) == ("not carried" if verdict == "cannot" else "review", verdict)
    assert f"vllm_ascend/patch/worker/patch_core.py {said}" in definition.reason + "; ".join(definition.doubts)


def test_a_place_that_two_patch_modules_set_asks_for_a_review(tmp_path: Path) -> None:
    patch = f"{NEW}from vllm.core import Core\nCore.go = new\n"
    imported = "from vllm_ascend.patch.worker import patch_core\nfrom vllm_ascend.patch.worker import patch_more\n"
    files = {**release(patch, imported), "vllm_ascend/patch/worker/patch_more.py": patch}
    path = "vllm_ascend/patch/worker/patch_core.py"
    result = carried(tmp_path, files, {path: patch}, {path: patch.replace("return 7", "return 8")})
    assert result.verdict == "review"
    assert "patch_more.py sets vllm.core:Core.go as well" in only(result).doubts[0]


@pytest.mark.parametrize(
    ("put", "verdict", "also_at"),
    [
        ("vllm.core.step = new", "exact", ("vllm.core:step",)),
        ("if some():\n    vllm.core.step = new", "exact", ()),
        ("vllm.core.Core.go = new", "exact", ("vllm.core:Core.go",)),
        ("if some():\n    vllm.core.Core.go = new", "cannot", None),
        ("def put():\n    vllm.core.Core.go = new\n\nput()", "cannot", None),
        ("def put():\n    vllm.core.step = new\n\nput()", "exact", ()),
    ],
)
def test_a_function_is_put_only_where_its_module_always_puts_it(
    tmp_path: Path, put: str, verdict: str, also_at: tuple[str, ...] | None
) -> None:
    patch = f"import vllm.core\n\n\n{NEW}{put}\n"
    path = "vllm_ascend/patch/worker/patch_core.py"
    result = carried(tmp_path, release(patch), {path: patch}, {path: patch.replace("return 7", "return 8")})
    definition = only(result)
    assert definition.verdict == verdict, definition.as_json()
    assert also_at is None or definition.also_at == also_at


@pytest.mark.parametrize(
    ("decorator", "there"),
    [("staticmethod", True), ("torch.no_grad()", True), ("triton.jit", False), ("torch.jit.script", False)],
)
def test_a_decorator_may_leave_no_source(decorator: str, there: bool) -> None:
    node = ast.parse(f"@{decorator}\ndef f(): pass\n").body[0]
    assert isinstance(node, ast.FunctionDef)
    assert source_is_there(node) is there
