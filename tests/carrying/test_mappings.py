"""Dictionaries that both a change and the release gave entries: merged by key, and found where they have moved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from carrying.installed import installed
from carrying.made_releases import Files, carried, only

NAMES = "vllm_ascend/names.py"
BASE = """
    KNOWN = {
        "first": ["a", "b"],
        "second": {"x": 1},
    }


    def look(name):
        return KNOWN.get(name)
"""
OWN = ("\n    }\n", '\n        "third": ["c"]\n    }\n')
NEW = ("\n    }\n", '\n        "fourth": [\n            "d",\n        ],\n    }\n')
ASKED = {"vllm_ascend/asks.py": "def ask(look):\n    return look('fourth')\n"}
OTHER = ('["a", "b"]', '["a", "b", "e"]')


def edited(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def verdict(folder: Path, change: tuple[str, str], own: tuple[str, str], others: Files | None = None) -> str:
    """What becomes of a change where the release has an edit of its own, and why."""
    release = {NAMES: edited(BASE, own), **(others or {})}
    result = carried(folder, release, {NAMES: BASE}, {NAMES: edited(BASE, change)})
    each = only(result)
    return f"{result.verdict}: {each.verdict} {each.reason}".strip()


def test_an_added_entry_comes_to_those_that_the_release_added(tmp_path: Path) -> None:
    release, fixed = {NAMES: edited(BASE, OWN), **ASKED}, {NAMES: edited(BASE, NEW)}
    result = carried(tmp_path, release, {NAMES: BASE}, fixed)
    assert (result.verdict, only(result).verdict) == ("carried", "merged")
    value: dict[str, dict[str, object]] = {}
    exec(only(result).text, value)
    assert list(value["KNOWN"]) == ["first", "second", "third", "fourth"]
    assert value["KNOWN"]["fourth"] == ["d"]


def test_an_entry_for_what_nothing_on_the_release_names_is_doubted(tmp_path: Path) -> None:
    result = carried(tmp_path, {NAMES: edited(BASE, OWN)}, {NAMES: BASE}, {NAMES: edited(BASE, NEW)})
    assert (result.verdict, "an entry for 'fourth'" in result.doubts[0]) == ("review", True)


def test_it_is_there_while_the_patch_is_on(tmp_path: Path) -> None:
    release, fixed = (
        {NAMES: edited(BASE, OWN)},
        {NAMES: edited(BASE, OWN, ('["c"]\n', '["c"],\n        "fourth": 4,\n'))},
    )
    environment = installed(tmp_path, release, fixed, "carried-known")
    look = """
        import json
        import ascend_patches
        ascend_patches.apply_patches()
        from vllm_ascend import names
        found = [names.look("fourth"), names.look("third")]
        ascend_patches.revert_patches("carried-known")
        print(json.dumps([*found, names.look("fourth")]))
    """
    done = subprocess.run([sys.executable, "-c", dedent(look)], env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout) == [4, ["c"], None], done.stderr


def test_another_value_of_an_entry_takes_the_place_of_the_releases(tmp_path: Path) -> None:
    result = carried(tmp_path, {NAMES: edited(BASE, OWN)}, {NAMES: BASE}, {NAMES: edited(BASE, OTHER)})
    value: dict[str, dict[str, object]] = {}
    exec(only(result).text, value)
    assert value["KNOWN"] == {"first": ["a", "b", "e"], "second": {"x": 1}, "third": ["c"]}


@pytest.mark.parametrize(
    ("change", "own", "said"),
    [
        (OTHER, ('["a", "b"]', '["b"]'), "the entry 'first' otherwise"),
        (NEW, ("\n    }\n", '\n        "fourth": 4,\n    }\n'), "the entry 'fourth' otherwise"),
        (('        "second": {"x": 1},\n', ""), OWN, "another value"),
        (NEW, ('        "first": ["a", "b"],\n', '        "first": 1,\n        **MORE,\n'), "another value"),
        (NEW, ('["a", "b"],\n        "second": {"x": 1}', '1,\n        "second": 2'), "hardly an entry"),
        (NEW, ("KNOWN = {", "KNOWN = OTHER = {"), "another value"),
    ],
)
def test_what_both_have_otherwise_is_a_conflict(
    tmp_path: Path, change: tuple[str, str], own: tuple[str, str], said: str
) -> None:
    found = verdict(tmp_path, change, own)
    assert (found.startswith("not carried: conflict"), said in found) == (True, True), found


def test_entries_that_the_release_has_among_its_own_are_already_there(tmp_path: Path) -> None:
    own = ("\n    }\n", '\n        "third": 3,\n        "fourth": ["d"],\n    }\n')
    assert verdict(tmp_path, NEW, own).startswith("already there")


def test_a_dictionary_that_another_module_took_cannot_be_exchanged(tmp_path: Path) -> None:
    user = {"vllm_ascend/user.py": "from vllm_ascend.names import KNOWN\n"}
    assert "vllm_ascend.user took KNOWN" in verdict(tmp_path, NEW, OWN, user)


OLD_PLACE = "vllm_ascend/config.py"


def moved(folder: Path, release: Files, more_upstream: Files | None = None) -> str:
    """What becomes of an added entry where the release has another file of such a dictionary."""
    before = {NAMES: BASE, **(more_upstream or {})}
    result = carried(folder, release, before, {**before, NAMES: edited(BASE, NEW)})
    return f"{result.verdict} {only(result).target}"


def test_a_dictionary_in_another_module_is_found(tmp_path: Path) -> None:
    release = {OLD_PLACE: edited(BASE, OWN), **ASKED}
    assert moved(tmp_path, release) == "carried vllm_ascend.config:KNOWN"


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("KNOWN = {'first': 1, 'second': 2}\n", None),
        ("KNOWN = {'other': 1}\n", None),
        ("KNOWN = []\n", None),
        (BASE, {OLD_PLACE: BASE}),
    ],
)
def test_one_that_only_has_its_name_or_that_upstream_has_as_well_is_not_the_same(
    tmp_path: Path, text: str, upstream: Files | None
) -> None:
    assert moved(tmp_path, {OLD_PLACE: text}, upstream) == "not carried vllm_ascend.names:KNOWN"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("vllm_ascend.parts.one", "carried"),
        ("vllm_ascend.parts.one:One", "carried"),
        ("vllm_ascend.parts.one.One", "carried"),
        ("vllm_ascend.parts.two", "review"),
        ("vllm_ascend.parts.one:Two", "review"),
        ("other.parts.two", "carried"),
        ("vllm_ascend.two", "carried"),
    ],
)
def test_a_module_that_is_named_in_a_text_has_to_be_there(tmp_path: Path, text: str, verdict: str) -> None:
    release = {NAMES: BASE, "vllm_ascend/parts/one.py": "class One:\n    pass\n"}
    result = carried(
        tmp_path, release, {NAMES: BASE}, {NAMES: edited(BASE, ("KNOWN.get(name)", f"KNOWN.get('{text}')"))}
    )
    assert result.verdict == verdict


WORDS = ("def look", 'WORDS = ("fourth", "first_moe", "mid")\n\n\n    def look')
GOES_OVER = (
    "return KNOWN.get(name)",
    "return next((value for key, value in KNOWN.items() if key in name), None)",
)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ('        "first_moe": ["d"],\n        "first"', ["first_moe", "first", "second", "third"]),
        ('        "second": {"x": 1},\n        "mid": 1,\n        "second"', None),
    ],
)
def test_an_entry_comes_before_those_that_follow_it_upstream(
    tmp_path: Path, new: str, expected: list[str] | None
) -> None:
    base = edited(BASE, WORDS, GOES_OVER)
    release = edited(base, OWN) if expected else edited(base, ('        "first": ["a", "b"],\n', ""))
    changed = (
        edited(base, ('        "first"', new))
        if expected
        else edited(base, ('        "second"', '        "mid": 1,\n        "second"'))
    )
    result = carried(tmp_path, {NAMES: release}, {NAMES: base}, {NAMES: changed})
    value: dict[str, dict[str, object]] = {}
    exec(only(result).text, value)
    assert (result.verdict, list(value["KNOWN"])) == ("carried", expected or ["mid", "second"])


@pytest.mark.parametrize(
    ("change", "own"),
    [
        (NEW, ("\n    }\n", '\n        "four": ["c"]\n    }\n')),
        (
            ('        "second"', '        "mid": 1,\n        "second"'),
            (
                '        "first": ["a", "b"],\n        "second": {"x": 1},\n',
                '        "second": {"x": 1},\n        "first": ["a", "b"],\n',
            ),
        ),
    ],
)
@pytest.mark.parametrize(("goes_over", "said"), [(True, "the order"), (False, "carried: merged")])
def test_which_entry_comes_first_is_not_guessed_where_something_goes_over_them(
    tmp_path: Path, change: tuple[str, str], own: tuple[str, str], goes_over: bool, said: str
) -> None:
    base = edited(BASE, WORDS, *([GOES_OVER] if goes_over else []))
    result = carried(tmp_path, {NAMES: edited(base, own)}, {NAMES: base}, {NAMES: edited(base, change)})
    each = only(result)
    assert said in f"{result.verdict}: {each.verdict} {each.reason}"


@pytest.mark.parametrize(
    "change",
    [
        "KNOWN[key] = value",
        "KNOWN.update(value)",
        "KNOWN['second'][key] = value",
        "KNOWN['first'].append(value)",
        "KNOWN.get(key).append(value)",
        "del KNOWN[key]",
        "return KNOWN.pop(key)",
    ],
)
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_dictionary_that_the_release_fills_while_it_runs_is_not_exchanged(
    tmp_path: Path, change: str, elsewhere: bool
) -> None:
    base = edited(BASE, WORDS)
    text = f"def register(key, value):\n    {change.replace('KNOWN', 'names.KNOWN') if elsewhere else change}\n"
    release = {
        NAMES: edited(base, OWN)
        + ("" if elsewhere else "\n\n" + "".join(f"    {line}\n" for line in text.splitlines()))
    }
    more = {"vllm_ascend/user.py": f"from vllm_ascend import names\n\n\n{text}"} if elsewhere else {}
    result = carried(tmp_path, {**release, **more}, {NAMES: base}, {NAMES: edited(base, NEW)})
    assert "changed while the release runs" in only(result).reason


def test_a_dictionary_that_is_taken_by_its_name_in_a_text_is_not_exchanged(tmp_path: Path) -> None:
    base = edited(BASE, WORDS)
    user = "import vllm_ascend.names as names\nTABLE = getattr(names, 'KNOWN')\n"
    result = carried(
        tmp_path,
        {NAMES: edited(base, OWN), "vllm_ascend/user.py": user},
        {NAMES: base},
        {NAMES: edited(base, NEW)},
    )
    assert "vllm_ascend.user asks for KNOWN by its name" in only(result).reason


def test_a_dictionary_that_shares_one_entry_of_two_is_another_one(tmp_path: Path) -> None:
    text = 'WORD = "fourth"\nKNOWN = {"first": ["a", "b"], "one": 1, "two": 2}\n'
    assert moved(tmp_path, {OLD_PLACE: text}) == "not carried vllm_ascend.names:KNOWN"
