"""Code that a change does not touch has to fit what the change makes of a function."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import carried
from carrying.small_release import BEFORE, HELPERS, OTHER, RELEASE, edited, verdict_of

THREE = edited(RELEASE[HELPERS], ("return first, second", "return first, second, 3"))


@pytest.mark.parametrize(
    "edit",
    [
        ("return x + 1", "yield x + 1"),
        ("    def late(self):", "    async def late(self):"),
        ("    @property\n    def size", "    def size"),
        ("    def late", "    @property\n    def late"),
        ("    def late(self):", "    @staticmethod\n    def late():"),
        ("return x + 1", "return x + 1, x"),
    ],
)
def test_a_function_of_another_nature_is_doubted_for_its_users(tmp_path: Path, edit: tuple[str, str]) -> None:
    verdict, said = verdict_of(tmp_path, edit)
    assert (verdict, "vllm_ascend.uses:use" in said) == ("review", True)


@pytest.mark.parametrize(
    "user",
    [
        "def go():\n    pair = both(1, 2)\n    first, second = pair\n    return first\n",
        "def go():\n    return both(1, 2)\n",
        "def go():\n    return both(1, 2)[0]\n",
        "def go():\n    first, second = both(1, 2)\n    return first\n",
    ],
)
def test_more_results_are_doubted_for_those_that_take_them(tmp_path: Path, user: str) -> None:
    release = {**RELEASE, OTHER: f"from vllm_ascend.helpers import both\n\n\n{user}"}
    result = carried(tmp_path, release, {HELPERS: RELEASE[HELPERS]}, {HELPERS: THREE})
    assert (result.verdict, "vllm_ascend.other:go" in " ".join(result.doubts)) == ("review", True)


def test_more_results_do_not_matter_to_a_call_that_takes_none(tmp_path: Path) -> None:
    release = {**RELEASE, OTHER: "from vllm_ascend.helpers import both\n\n\ndef go():\n    both(1, 2)\n"}
    assert carried(tmp_path, release, {HELPERS: RELEASE[HELPERS]}, {HELPERS: THREE}).verdict == "carried"


def test_an_override_with_the_old_results_is_doubted(tmp_path: Path) -> None:
    child = "from vllm_ascend.runner import Runner\n\n\n"
    child += "class Child(Runner):\n    def step(self, tokens):\n        return 1\n"
    verdict, said = verdict_of(
        tmp_path, ("return total\n", "return total, count\n"), release={OTHER: child, "vllm_ascend/uses.py": ""}
    )
    assert (verdict, "keeps the old results" in said) == ("review", True)


@pytest.mark.parametrize(
    "user",
    [
        "def go():\n    return pick(x=1)\n",
        "def go():\n    return functools.partial(pick, x=1)\n",
        "def go(run):\n    return run(pick)\n",
    ],
)
def test_a_renamed_parameter_is_doubted_for_those_that_name_it_or_pass_the_function_on(
    tmp_path: Path, user: str
) -> None:
    edit = ("def pick(x):\n    return x + 1", "def pick(y):\n    return y + 1")
    release = {OTHER: f"import functools\nfrom vllm_ascend.runner import pick\n\n\n{user}"}
    verdict, said = verdict_of(tmp_path, edit, release=release)
    assert (verdict, "vllm_ascend.other:go" in said) == ("review", True)


def test_new_parameters_that_the_base_on_the_release_does_not_have_are_doubted(tmp_path: Path) -> None:
    base = edited(
        BEFORE, ("class Base:", "from vllm.base import Plan\n\n\nclass Base(Plan):"), ("        self.plan(total)\n", "")
    )
    plan = "class Plan:\n    def plan(self, size):\n        return size\n\n"
    plan += "    def run(self):\n        return self.plan(1)\n"
    edit = ("def plan(self, size):\n        return size", "def plan(self, size, deep):\n        return size")
    verdict, said = verdict_of(tmp_path, edit, base=base, release={"vllm/base.py": plan})
    assert (verdict, "vllm.base:Plan.plan" in said) == ("review", True)


def test_a_class_with_its_own_which_it_had_not_where_the_change_was_made_is_doubted(tmp_path: Path) -> None:
    child = "from vllm_ascend.runner import Runner\n\n\nclass Child(Runner):\n    KIND = 7\n"
    plain = child.replace("KIND = 7", "pass")
    edit = ("KIND = 1", "KIND = 2")
    verdict, said = verdict_of(tmp_path / "other", edit, release={OTHER: child}, upstream={OTHER: plain})
    assert (verdict, "Child has a KIND of its own" in said) == ("review", True)
    assert verdict_of(tmp_path / "same", edit, release={OTHER: child}, upstream={OTHER: child})[0] == "carried"


@pytest.mark.parametrize(
    ("gone", "user"),
    [
        ("    KIND = 1\n\n", "def go(runner):\n    return getattr(runner, 'KIND', 0)\n"),
        ("    def late(self):\n        return 5\n", ""),
        ("def pick(x):\n    return x + 1\n", ""),
    ],
)
def test_what_is_taken_away_and_still_used_is_doubted(tmp_path: Path, gone: str, user: str) -> None:
    edits = ((gone, ""), ("helpers.add(count, 1)", "helpers.add(count, 2)"))
    verdict, said = verdict_of(tmp_path, *edits, release={OTHER: user})
    assert (verdict, "still uses it" in said) == ("review", True)


def test_what_is_taken_away_and_not_used_stays(tmp_path: Path) -> None:
    edits = (("    KIND = 1\n\n", ""), ("helpers.add(count, 1)", "helpers.add(count, 2)"))
    assert verdict_of(tmp_path, *edits)[0] == "carried"


KERNEL = """\
import triton
import triton.language as tl


@triton.jit
def fill(out, size, BLOCK: tl.constexpr):
    tl.store(out + tl.arange(0, BLOCK), size)
"""


@pytest.mark.parametrize(
    ("parameters", "verdict"),
    [("out, size, BLOCK", "carried"), ("out, size, step, BLOCK", "review"), ("out, BLOCK, size", "carried")],
)
def test_a_kernel_with_other_parameters_is_doubted_where_it_is_launched(
    tmp_path: Path, parameters: str, verdict: str
) -> None:
    kernel, user = "vllm_ascend/ops/fill.py", "vllm_ascend/ops/fills.py"
    launch = "from vllm_ascend.ops.fill import fill\n\n\ndef go(out):\n"
    launch += "    fill[(1,)](out, size=2, BLOCK=4, num_warps=8)\n"
    after = edited(KERNEL, ("out, size, BLOCK: tl.constexpr", parameters))
    result = carried(tmp_path, {**RELEASE, kernel: KERNEL, user: launch}, {kernel: KERNEL}, {kernel: after})
    assert result.verdict == verdict, [each.as_json() for each in result.definitions]


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ("def pick(x, y=1):\n    return x + 2 * y", "carried"),
        ("def pick(x, z=1):\n    return x + z", "carried"),
        ("def pick(x, mode=0, y=1):\n    return x + y + mode", "review"),
        ("def pick(y, x=1):\n    return x + y", "review"),
    ],
)
def test_a_parameter_at_another_place_is_doubted_for_calls_by_place(tmp_path: Path, after: str, verdict: str) -> None:
    base = edited(BEFORE, ("def pick(x):\n    return x + 1", "def pick(x, y=1):\n    return x + y"))
    release = {OTHER: "from vllm_ascend.runner import pick\n\n\ndef go():\n    return pick(1, 2)\n"}
    edit = ("def pick(x, y=1):\n    return x + y", after)
    assert verdict_of(tmp_path, edit, base=base, release=release)[0] == verdict
