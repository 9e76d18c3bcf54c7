"""What becomes of a change on a release: carried where it is upstream's own difference, refused where it is not."""

from __future__ import annotations

from pathlib import Path

from carrying.made_releases import carried, only

RUNNER = "vllm_ascend/runner.py"
BEFORE = """
    import torch


    class Runner:
        def __init__(self, config):
            self.config = config
            self.limit = 4

        def step(self, tokens):
            count = len(tokens)
            kept = tokens[:self.limit]
            return kept, count
"""
FIXED = BEFORE.replace("kept = tokens[:self.limit]", "kept = tokens[:min(count, self.limit)]")


def test_the_same_code_on_the_release_is_carried_exactly(tmp_path: Path) -> None:
    result = carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: BEFORE}, {RUNNER: FIXED})
    assert (result.verdict, only(result).verdict) == ("carried", "exact")
    assert "min(count, self.limit)" in only(result).text


def test_comments_and_layout_of_the_release_do_not_matter(tmp_path: Path) -> None:
    release = BEFORE.replace(
        "count = len(tokens)", "count = len(\n                tokens\n            )  # all of them"
    )
    assert carried(tmp_path, {RUNNER: release}, {RUNNER: BEFORE}, {RUNNER: FIXED}).verdict == "carried"


def test_what_the_release_changed_elsewhere_in_the_function_is_merged(tmp_path: Path) -> None:
    release = BEFORE.replace("count = len(tokens)", "self.last = tokens\n            count = len(tokens)")
    result = carried(tmp_path, {RUNNER: release}, {RUNNER: BEFORE}, {RUNNER: FIXED})
    assert (result.verdict, only(result).verdict) == ("carried", "merged")
    assert "self.last = tokens" in only(result).text


def test_what_the_release_has_is_already_there(tmp_path: Path) -> None:
    result = carried(tmp_path, {RUNNER: FIXED}, {RUNNER: BEFORE}, {RUNNER: FIXED})
    assert (result.verdict, result.carried) == ("already there", [])


def test_the_same_place_written_otherwise_is_a_conflict_with_all_three_sides(tmp_path: Path) -> None:
    release = BEFORE.replace("kept = tokens[:self.limit]", "kept = list(tokens)[:self.limit]")
    result = carried(tmp_path, {RUNNER: release}, {RUNNER: BEFORE}, {RUNNER: FIXED})
    assert (result.verdict, only(result).verdict) == ("not carried", "conflict")
    base, theirs, ours = only(result).conflicts[0]
    assert ("tokens[:self.limit]" in base, "min(count" in theirs, "list(tokens)" in ours) == (True, True, True)


def test_a_function_that_the_release_lacks_is_not_there(tmp_path: Path) -> None:
    release = BEFORE.replace("def step", "def forward")
    assert only(carried(tmp_path, {RUNNER: release}, {RUNNER: BEFORE}, {RUNNER: FIXED})).verdict == "not there"


def test_a_function_in_another_file_is_found(tmp_path: Path) -> None:
    moved = """
        def pad(tokens, limit):
            missing = limit - len(tokens)
            filler = [0] * missing
            padded = tokens + filler
            return padded
    """
    fixed = moved.replace("missing = limit - len(tokens)", "missing = max(0, limit - len(tokens))")
    result = carried(
        tmp_path,
        {"vllm_ascend/old.py": moved, "vllm_ascend/new.py": "X = 1\n"},
        {"vllm_ascend/new.py": moved},
        {"vllm_ascend/new.py": fixed},
    )
    assert (result.verdict, only(result).target) == ("carried", "vllm_ascend.old:pad")


def test_an_added_function_and_the_import_that_it_needs_come_along(tmp_path: Path) -> None:
    after = FIXED.replace("import torch\n", "import math\n    import torch\n").replace(
        "min(count, self.limit)", "self.bound(count)"
    )
    after += "\n        def bound(self, count):\n            return math.floor(min(count, self.limit))\n"
    result = carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: BEFORE}, {RUNNER: after})
    assert result.verdict == "carried"
    assert {each.path: each.verdict for each in result.definitions} == {
        "import math": "added",
        "Runner.step": "exact",
        "Runner.bound": "added",
    }


def test_tests_documents_and_native_files_are_told_apart(tmp_path: Path) -> None:
    others = {"tests/ut/test_runner.py": "", "docs/a.md": "a", "setup.py": "a", "csrc/kernel.cpp": "a"}
    result = carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: BEFORE}, {RUNNER: FIXED, **others})
    assert result.verdict == "partly"
    assert {each.path: each.kind for each in result.left_out} == {
        "tests/ut/test_runner.py": "tests",
        "docs/a.md": "docs",
        "setup.py": "other",
    }
    assert [each.target for each in result.definitions if each.verdict == "cannot"] == ["csrc/kernel.cpp:(file)"]


def test_a_change_that_touches_nothing_of_the_product_is_not_carried(tmp_path: Path) -> None:
    result = carried(tmp_path, {RUNNER: BEFORE}, {"docs/a.md": "a"}, {"docs/a.md": "b"})
    assert (result.verdict, result.definitions) == ("not carried", [])


def test_module_code_that_has_run_cannot_be_carried(tmp_path: Path) -> None:
    result = carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: BEFORE}, {RUNNER: BEFORE + "\n    print('ready')\n"})
    assert (only(result).verdict, "module code that has run" in only(result).reason) == ("cannot", True)


def test_a_changed_base_class_cannot_be_carried(tmp_path: Path) -> None:
    result = carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: BEFORE}, {RUNNER: BEFORE.replace("Runner:", "Runner(dict):")})
    assert only(result).verdict == "cannot"


def test_a_field_of_a_dataclass_cannot_be_carried(tmp_path: Path) -> None:
    before = "from dataclasses import dataclass\n\n\n@dataclass\nclass Meta:\n    size: int = 1\n"
    after = before.replace("= 1", "= 2")
    assert only(carried(tmp_path, {RUNNER: before}, {RUNNER: before}, {RUNNER: after})).verdict == "cannot"


def test_a_value_that_another_module_took_when_it_was_imported_cannot_be_carried(tmp_path: Path) -> None:
    release = {RUNNER: "LIMIT = 1\n", "vllm_ascend/user.py": "from vllm_ascend.runner import LIMIT\n"}
    result = carried(tmp_path, release, {RUNNER: "LIMIT = 1\n"}, {RUNNER: "LIMIT = 2\n"})
    assert (only(result).verdict, "vllm_ascend.user" in only(result).reason) == ("cannot", True)


def test_a_function_that_a_table_took_when_its_module_ran_cannot_be_carried(tmp_path: Path) -> None:
    before = "def one(x):\n    return x\n\n\nTABLE = {'one': one}\n"
    after = before.replace("return x", "return x + 1")
    assert only(carried(tmp_path, {RUNNER: before}, {RUNNER: before}, {RUNNER: after})).verdict == "cannot"


def test_a_function_that_was_put_onto_a_class_of_vllm_is_replaced_there_as_well(tmp_path: Path) -> None:
    before = "from vllm.core import Core\n\n\ndef step(self):\n    return 1\n\n\nCore.step = step\n"
    release = {RUNNER: before, "vllm/core.py": "class Core:\n    def step(self):\n        return 0\n"}
    result = carried(tmp_path, release, {RUNNER: before}, {RUNNER: before.replace("return 1", "return 2")})
    assert (result.verdict, only(result).also_at) == ("carried", ("vllm.core:Core.step",))


def conflicting(release: str, before: str, after: str, folder: Path) -> str:
    """The verdict of a change to code that the release has changed at the same place."""
    return carried(folder, {RUNNER: release}, {RUNNER: before}, {RUNNER: after}).verdict


def test_what_the_release_has_among_changes_of_its_own_is_already_there(tmp_path: Path) -> None:
    more = FIXED.replace("return kept, count", "kept = list(kept)\n            return kept, count")
    more = more.replace("kept = tokens[", "self.seen = count\n            kept = tokens[")
    assert conflicting(more, BEFORE, FIXED, tmp_path) == "already there"


def test_an_argument_that_the_release_gives_in_a_call_that_it_changed_is_already_there(tmp_path: Path) -> None:
    before, after, release = (
        BEFORE.replace("len(tokens)", f"measure(tokens, {given})")
        for given in ("deep=1, wide=1", "deep=2, wide=1", "deep=2, wide=3")
    )
    assert conflicting(release, before, after, tmp_path) == "already there"
    assert conflicting(release.replace("deep=2", "deep=3"), before, after, tmp_path / "other") == "not carried"


def test_what_stands_in_another_block_of_the_release_is_not_already_there(tmp_path: Path) -> None:
    before = BEFORE.replace("count = len(tokens)", "self.wait()\n            count = len(tokens)")
    after = before.replace("self.wait()", "if self.full:\n                self.wait()")
    release = before.replace("self.wait()", "if self.full or self.late:\n                self.wait()")
    assert conflicting(release, before, after, tmp_path) == "not carried"


def test_that_the_release_lacks_what_a_change_takes_out_does_not_make_it_already_there(tmp_path: Path) -> None:
    before = BEFORE.replace("count = len(tokens)", "self.wait()\n            count = len(tokens)")
    release = before.replace("self.wait()", "self.wait(1)")
    assert conflicting(release, before, BEFORE, tmp_path) == "not carried"


def test_another_annotation_of_a_field_of_a_dataclass_changes_nothing(tmp_path: Path) -> None:
    before = "from dataclasses import dataclass\n\n\n@dataclass\nclass Meta:\n    size: int = 1\n\n"
    before += "    def go(self):\n        return 1\n"
    after = before.replace("size: int", "size: float").replace("return 1", "return 2")
    result = carried(tmp_path / "plain", {RUNNER: before}, {RUNNER: before}, {RUNNER: after})
    assert (result.verdict, only(result).path) == ("carried", "Meta.go")
    read = after.replace("size: float", "size: ClassVar[int]")
    assert carried(tmp_path / "read", {RUNNER: before}, {RUNNER: before}, {RUNNER: read}).verdict == "partly"
    model = before.replace("class Meta:", "class Meta(BaseModel):")
    other = after.replace("class Meta:", "class Meta(BaseModel):")
    assert carried(tmp_path / "model", {RUNNER: model}, {RUNNER: model}, {RUNNER: other}).verdict == "partly"


def test_taking_away_what_the_release_never_had_is_already_there(tmp_path: Path) -> None:
    more = BEFORE + "\n        def late(self):\n            return 1\n"
    assert carried(tmp_path, {RUNNER: BEFORE}, {RUNNER: more}, {RUNNER: BEFORE}).verdict == "already there"


def test_taking_away_a_file_that_the_release_never_had_is_already_there(tmp_path: Path) -> None:
    change = {"vllm_ascend/late.py": "def late():\n    return 1\n"}
    assert carried(tmp_path, {RUNNER: BEFORE}, change, {}).verdict == "already there"


def test_taking_away_what_the_release_has_elsewhere_is_not(tmp_path: Path) -> None:
    lines = ["def late(self, a, b):", "    first = a + b", "    second = first * 2", "    third = second - a"]
    late = "\n".join(f"        {line}" for line in [*lines, "    return first, second, third"]) + "\n"
    before = f"    class Runner:\n        limit = 1\n\n{late}"
    after = "    class Runner:\n        limit = 1\n"
    release = {RUNNER: after, "vllm_ascend/other.py": f"    class Other:\n{late}"}
    result = carried(tmp_path, release, {RUNNER: before}, {RUNNER: after})
    assert (result.verdict, only(result).verdict) == ("not carried", "not there")
