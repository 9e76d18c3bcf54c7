"""Earlier changes that are carried first: found in a clone, as few as do, and written with where each comes from."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from carrying.made_releases import code, git, write

from ascend_patches.carrying import onto, prerequisites, writing
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.results import Result
from ascend_patches.commands import command_line

RUNNER = "vllm_ascend/runner.py"
OTHER = "vllm_ascend/other.py"
FIRST = "def one(x):\n    first = x\n    return first\n\n\ndef use():\n    return one(1)\n"
SECOND = FIRST.replace("first = x\n", "first = widen(x)\n") + "\n\ndef widen(x):\n    return x * 2\n"
THIRD = SECOND.replace("first = widen(x)\n", "first = widen(x + 1)\n")


def clone_of(tmp_path: Path, *steps: tuple[str, Mapping[str, str]]) -> Path:
    """A clone with a commit for each step, the first of them the release's."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for subject, files in steps:
        write(folder, files)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", subject)
        if subject == "Begin":
            git(folder, "tag", "v0.18.0")
    return folder


def carried(tmp_path: Path, folder: Path, release: Mapping[str, str], most: int, commit: str = "HEAD") -> Result:
    with Clone(str(folder)) as clone:
        return prerequisites.carry(clone.change(commit), code(tmp_path / "release", release), clone, most)


def same(first: str, second: str) -> bool:
    """Whether two texts are the same code."""
    return ast.dump(ast.parse(first)) == ast.dump(ast.parse(second))


def test_an_earlier_change_is_carried_first_where_it_is_needed(tmp_path: Path) -> None:
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[Feature] Widen it (#5)", {RUNNER: SECOND}),
        ("[Doc] Another (#6)", {OTHER: "A = 1\n"}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 1)
    assert (found.verdict, [each.commit.number for each in found.prerequisites]) == ("carried", ["5"])
    assert same(found.files[RUNNER], THIRD)
    assert found.prerequisites[0].is_feature
    assert {each.target for each in found.carried} == {"vllm_ascend.runner:one", "vllm_ascend.runner:widen"}


def test_a_change_that_needs_none_is_carried_alone(tmp_path: Path) -> None:
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[BugFix] Mend it (#7)", {RUNNER: FIRST.replace("first = x\n", "first = x + 1\n")}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 3)
    assert (found.verdict, found.prerequisites) == ("carried", ())


def test_two_that_build_on_each_other_need_two(tmp_path: Path) -> None:
    fourth = THIRD.replace("x + 1", "x + 1 + 1")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[BugFix] Widen it (#5)", {RUNNER: SECOND}),
        ("[BugFix] Mend it (#6)", {RUNNER: THIRD}),
        ("[BugFix] Mend it again (#7)", {RUNNER: fourth}),
    )
    assert carried(tmp_path, folder, {RUNNER: FIRST}, 1).verdict != "carried"
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 2)
    assert [each.commit.number for each in found.prerequisites] == ["5", "6"]
    assert (found.verdict, same(found.files[RUNNER], fourth)) == ("carried", True)
    assert not any(each.is_feature for each in found.prerequisites)


def test_what_an_earlier_change_needs_itself_comes_before_it(tmp_path: Path) -> None:
    other = "def base():\n    one = 1\n    return one\n"
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST, OTHER: other}),
        ("[BugFix] Begin at two (#4)", {OTHER: other.replace("one = 1", "one = 2")}),
        ("[BugFix] Widen both (#5)", {RUNNER: SECOND, OTHER: other.replace("one = 1", "one = 2 + 2")}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST, OTHER: other}, 2)
    assert ([each.commit.number for each in found.prerequisites], found.verdict) == (["4", "5"], "carried")
    touched = [{each.target for each in step.carried} for step in found.steps]
    assert ["vllm_ascend.other:base" in targets for targets in touched] == [True, True, False]
    assert same(found.files[OTHER], other.replace("one = 1", "one = 2 + 2"))
    assert carried(tmp_path, folder, {RUNNER: FIRST, OTHER: other}, 1).prerequisites == ()


def test_the_one_that_a_conflict_comes_from_is_found_among_many(tmp_path: Path) -> None:
    body = "".join(f"    step{index} = {index}\n" for index in range(30))
    texts = [f"def one(x):\n{body}    first = x\n    return first\n"]
    texts.append(texts[0].replace("first = x", "first = x * 2"))
    steps = [("Begin", {RUNNER: texts[0]}), ("[BugFix] Twice (#5)", {RUNNER: texts[1]})]
    for index in range(15):
        texts.append(texts[-1].replace(f"step{index} = {index}\n", f"step{index} = -{index}\n"))
        steps.append((f"[BugFix] Another (#{index + 20})", {RUNNER: texts[-1]}))
    steps.append(("[BugFix] Mend it (#7)", {RUNNER: texts[-1].replace("x * 2", "x * 2 + 1")}))
    found = carried(tmp_path, clone_of(tmp_path, *steps), {RUNNER: texts[0]}, 1)
    assert [each.commit.number for each in found.prerequisites] == ["5"]
    assert same(found.files[RUNNER], texts[0].replace("first = x", "first = x * 2 + 1"))


def test_a_change_that_needs_native_code_is_no_earlier_change(tmp_path: Path) -> None:
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[BugFix] Widen it (#5)", {RUNNER: SECOND, "csrc/widen.cpp": "int widen;\n"}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 2)
    assert (found.verdict, found.prerequisites) == ("not carried", ())
    assert "changes native code" in found.searched


def test_a_missing_name_is_brought_by_the_change_that_added_it(tmp_path: Path) -> None:
    helper = "def base():\n    return 1\n"
    more = helper + "\n\ndef half(x):\n    return x / 2\n\n\ndef both():\n    return half(base())\n"
    mended = "from vllm_ascend.other import half\n\n\n" + FIRST.replace("first = x\n", "first = half(x)\n")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST, OTHER: helper}),
        ("[Perf] Halves (#5)", {OTHER: more}),
        ("[BugFix] Mend it (#7)", {RUNNER: mended}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST, OTHER: helper}, 1)
    assert [each.commit.number for each in found.prerequisites] == ["5"], [each.as_json() for each in found.definitions]
    assert found.verdict in ("carried", "review")


def test_what_no_earlier_change_helps_stays_as_it_is(tmp_path: Path) -> None:
    ours = FIRST.replace("first = x\n", "first = x - 1\n")
    folder = clone_of(
        tmp_path, ("Begin", {RUNNER: ours}), ("[BugFix] Mend it (#7)", {RUNNER: THIRD.replace("x + 1", "x + 2")})
    )
    with Clone(str(folder)) as clone:
        release = code(tmp_path / "release", {RUNNER: ours.replace("x - 1", "x - 9")})
        alone = onto.carry(clone.change("HEAD"), release)
        found = prerequisites.carry(clone.change("HEAD"), release, clone, 3)
    assert (found.verdict, found.prerequisites) == (alone.verdict, ())
    assert found.searched == "no earlier change answers what stops it"


def test_what_is_written_names_every_commit(tmp_path: Path) -> None:
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[Feature] Widen it (#5)", {RUNNER: SECOND}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 1)
    files = writing.contents(found, code(tmp_path / "release", {RUNNER: FIRST}), "carried-7")
    for name in ("README.md", "carried_7/__init__.py"):
        assert ["(#5)" in files[name], "(#7)" in files[name]] == [True, True]
    assert "a feature" in files["README.md"]
    assert ["x * 2" in files[name] for name in ("upstream.diff", "release.diff")] == [True, True]


def test_the_command_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[Feature] Widen it (#5)", {RUNNER: SECOND}),
        ("[BugFix] Mend it (#7)", {RUNNER: THIRD}),
    )
    release = write(tmp_path / "release", {RUNNER: FIRST})
    asked = ["carry", "--repo", str(folder), "HEAD", "--onto", str(release), "--json"]
    assert command_line.main(asked) == 1
    assert json.loads(capsys.readouterr().out)["prerequisites"] == []
    assert command_line.main([*asked, "--with-prerequisites", "2"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["prerequisites"]
    assert (one["subject"], one["feature"], one["definitions"]) == ("[Feature] Widen it (#5)", True, 2)


def test_a_patch_file_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["carry", "7.patch", "--onto", str(tmp_path), "--with-prerequisites", "1"]) == 2
    assert "--repo CLONE COMMIT" in capsys.readouterr().err


def test_a_clone_without_the_tag_of_the_release_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = clone_of(tmp_path, ("Begin", {RUNNER: FIRST}), ("[BugFix] Mend it (#7)", {RUNNER: SECOND}))
    git(folder, "tag", "-d", "v0.18.0")
    release = write(tmp_path / "release", {RUNNER: FIRST.replace("first = x\n", "first = -x\n")})
    asked = ["carry", "--repo", str(folder), "HEAD", "--onto", str(release), "--with-prerequisites", "1"]
    assert command_line.main(asked) == 1
    assert "no tag v0.18.0" in capsys.readouterr().err


def test_a_module_that_an_earlier_change_added_comes_with_it(tmp_path: Path) -> None:
    halves = "def half(x):\n    return x / 2\n"
    mended = "from vllm_ascend.halves import half\n\n\n" + FIRST.replace("first = x\n", "first = half(x)\n")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[Perf] Halves (#5)", {"vllm_ascend/halves.py": halves, OTHER: "A = 1\n"}),
        ("[BugFix] Mend it (#7)", {RUNNER: mended}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST}, 1)
    assert [each.commit.number for each in found.prerequisites] == ["5"], [each.as_json() for each in found.definitions]
    assert same(found.files["vllm_ascend/halves.py"], halves)


def test_an_earlier_change_that_nothing_can_help_is_carried_once_for_all_that_need_it(tmp_path: Path) -> None:
    ready = f"{SECOND}\n\nprint('ready')\n"
    third, fourth = ready.replace("widen(x)\n", "widen(x + 1)\n"), ready.replace("widen(x)\n", "widen(x + 2)\n")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST}),
        ("[BugFix] Widen it (#5)", {RUNNER: ready}),
        ("[BugFix] Mend it (#7)", {RUNNER: third}),
        ("[BugFix] Mend it otherwise (#8)", {RUNNER: fourth}),
    )
    with Clone(str(folder)) as clone:
        searcher = prerequisites.Searcher(code(tmp_path / "release", {RUNNER: FIRST}), clone, 2)
        found = [searcher.carry(clone.change(commit)) for commit in ("HEAD~", "HEAD")]
        (only,) = searcher.hopeless
        assert clone.change(only).number == "5"
    assert [one.verdict for one in found] == ["not carried", "not carried"]
    assert f"{only[:10]} stops at vllm_ascend.runner:(module): module code that has run" in found[1].searched


def test_what_an_earlier_change_added_may_become_of_another_nature_with_its_users(tmp_path: Path) -> None:
    begin = "class Tools:\n    pass\n\n\ndef one(x):\n    first = x\n    return first\n"
    widened = begin.replace("    pass\n", "    @staticmethod\n    def widen(x):\n        return x * 2\n")
    widened = widened.replace("first = x\n", "first = Tools.widen(x)\n")
    mended = widened.replace("    @staticmethod\n    def widen(x)", "    @classmethod\n    def widen(cls, x)")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: begin}),
        ("[BugFix] Widen it (#5)", {RUNNER: widened}),
        ("[BugFix] Mend it (#7)", {RUNNER: mended}),
    )
    found = carried(tmp_path, folder, {RUNNER: begin}, 1)
    assert ([each.commit.number for each in found.prerequisites], found.doubts) == (["5"], [])
    assert (found.verdict, "def widen(cls, x)" in found.files[RUNNER]) == ("carried", True)


def test_what_the_release_uses_itself_is_doubted_though_an_earlier_change_is_carried_first(tmp_path: Path) -> None:
    user = "from vllm_ascend.runner import use\n\n\ndef go():\n    return use()\n"
    mended = THIRD.replace("def use():", "def use(deep):")
    folder = clone_of(
        tmp_path,
        ("Begin", {RUNNER: FIRST, OTHER: user}),
        ("[BugFix] Widen it (#5)", {RUNNER: SECOND}),
        ("[BugFix] Mend it (#7)", {RUNNER: mended}),
    )
    found = carried(tmp_path, folder, {RUNNER: FIRST, OTHER: user}, 1)
    assert (found.verdict, "vllm_ascend.other:go" in " ".join(found.doubts)) == ("review", True)
