"""A field that is added to a dataclass: the class that is there is given it, with all that is made of its fields."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from carrying.installed import command, installed
from carrying.made_releases import Files, carried

META = "vllm_ascend/meta.py"
USER = "vllm_ascend/user.py"
BEFORE = """
    from dataclasses import dataclass, field


    class Base:
        pass


    @dataclass
    class Meta(Base):
        size: int
        names: list[str] = field(default_factory=list)

        def shown(self):
            return self.size


    def make(size):
        return Meta(size)
"""
AFTER = BEFORE.replace(
    "        names: list[str] = field(default_factory=list)\n",
    "        names: list[str] = field(default_factory=list)\n"
    "        virtual: bool = False\n"
    "        blocks: list[int] = field(default_factory=list)\n",
).replace("return Meta(size)", "return Meta(size, virtual=True)")
CALLER = "from vllm_ascend.meta import Meta\n\n\ndef go():\n    return Meta(1, ['a'])\n"
LOOK = """
    import dataclasses, inspect, json, pickle
    import ascend_patches
    ascend_patches.apply_patches()
    import vllm_ascend.meta as meta, vllm_ascend.user as user
    from vllm_ascend.meta import Meta

    def seen():
        one = user.go()
        names = [each.name for each in dataclasses.fields(Meta)]
        return {
            "made": repr(meta.make(3)), "fields": names, "went": repr(one), "copied": repr(dataclasses.replace(one)),
            "equal": user.go() == user.go(), "pickled": repr(pickle.loads(pickle.dumps(one))),
            "parameters": list(inspect.signature(Meta).parameters), "match": list(Meta.__match_args__),
            "annotations": list(Meta.__annotations__), "default": getattr(Meta, "virtual", None),
        }

    before = dict(vars(Meta))
    there = seen()
    own = next(each for each in ascend_patches.status()["patches"] if each["name"] == "carried-fields")
    found = {"with": there, "state": own["state"], "reason": own["reason"]}
    if found["state"] == "applied":
        other = meta.make(1)
        other.blocks.append(1)
        found["alone"] = meta.make(1).blocks
        ascend_patches.revert_patches("carried-fields")
    found["without"] = seen()
    # pickle keeps the names of the slots in a class that it has met.
    found["left"] = sorted((set(vars(Meta)) ^ set(before)) - {"virtual", "__slotnames__"})
    print(json.dumps(found))
"""


def look(environment: dict[str, str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOOK)], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_class_has_the_field_while_the_patch_is_on(tmp_path: Path) -> None:
    environment = installed(tmp_path, {META: BEFORE, USER: CALLER}, {META: AFTER}, "carried-fields")
    found = look(environment, tmp_path)
    assert found["state"] == "applied", found["reason"]
    there, gone = found["with"], found["without"]
    assert there["made"] == "Meta(size=3, names=[], virtual=True, blocks=[])"
    assert there["went"] == there["copied"] == there["pickled"] == "Meta(size=1, names=['a'], virtual=False, blocks=[])"
    assert there["fields"] == there["parameters"] == there["match"] == ["size", "names", "virtual", "blocks"]
    assert (there["annotations"], there["default"], there["equal"]) == (there["fields"], False, True)
    assert found["alone"] == []
    assert (gone["made"], gone["went"]) == ("Meta(size=3, names=[])", "Meta(size=1, names=['a'])")
    assert gone["fields"] == gone["parameters"] == gone["match"] == gone["annotations"] == ["size", "names"]
    assert (gone["default"], found["left"]) == (None, [])


def test_where_the_class_has_other_fields_the_patch_says_so_and_changes_nothing(tmp_path: Path) -> None:
    environment = installed(tmp_path, {META: BEFORE, USER: CALLER}, {META: AFTER}, "carried-fields")
    file = tmp_path / "release" / META
    file.write_text(file.read_text("utf-8").replace("size: int\n", "size: int\n    width: int = 2\n", 1), "utf-8")
    said = command(environment, tmp_path, "run", "--", sys.executable, "-c", dedent(LOOK))
    found = json.loads(said.stdout.strip().split("\n")[-1])
    assert (found["state"], "its fields are size, width, names" in found["reason"]) == ("failed", True)
    assert found["with"]["fields"] == ["size", "width", "names"]


def verdict(folder: Path, before: str, after: str, others: Files | None = None) -> str:
    result = carried(folder, {META: before, **(others or {})}, {META: before}, {META: after})
    said = [each.reason for each in result.definitions if each.verdict == "cannot"]
    return f"{result.verdict}: {said[0]}" if said else result.verdict


def edited(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_a_field_with_a_default_is_carried_alone(tmp_path: Path) -> None:
    before = BEFORE.replace("size: int", "size: int = 1")
    added = ("size: int = 1\n", "size: int = 1\n        wide: int = 2\n")
    after = edited(before, added, ("return self.size", "return self.size + self.wide"))
    assert verdict(tmp_path, before, after) == "carried"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("size: int\n", "size: int\n        wide: int\n"), "without a default"),
        (("size: int\n", "size: int\n        wide: ClassVar[int] = 2\n"), "made from its fields"),
        (("size: int\n", "size: int\n        wide: InitVar[int] = 2\n"), "made from its fields"),
        (("(default_factory=list)\n", "(default_factory=list)\n        wide: int = read()\n"), "default is made by"),
        (("(default_factory=list)\n", "(default_factory=list)\n        wide: int = field(repr=False)\n"), "made by"),
    ],
)
def test_a_field_that_needs_more_than_a_place_in_the_class_is_refused(
    tmp_path: Path, edit: tuple[str, str], said: str
) -> None:
    assert said in verdict(tmp_path, BEFORE, edited(BEFORE, edit))


@pytest.mark.parametrize(
    "head",
    [
        "@dataclass(frozen=True)",
        "@dataclass(slots=True)",
        "@dataclass(init=False)",
        "@dataclass(order=True)",
        "@dataclass(kw_only=True)",
        "@config\n    @dataclass",
        "@dataclass_transform()",
    ],
)
def test_a_class_that_is_made_in_another_way_is_refused(tmp_path: Path, head: str) -> None:
    before = BEFORE.replace("@dataclass", head)
    added = ("(default_factory=list)\n", "(default_factory=list)\n        wide: int = 2\n")
    assert verdict(tmp_path, before, edited(before, added)).startswith("not carried: a field of a class")


@pytest.mark.parametrize("base", ["BaseModel", "NamedTuple", "TypedDict", "Enum"])
def test_a_class_that_is_no_dataclass_is_refused(tmp_path: Path, base: str) -> None:
    before = f"class Meta({base}):\n    size: int = 1\n"
    after = before + "    wide: int = 2\n"
    assert verdict(tmp_path, before, after).startswith("not carried: a field of a class")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ("@dataclass\nclass More(Meta):\n    deep: int = 1\n", "inherits as it was made"),
        ("ONE = Meta(1)\n", "made an instance without it"),
        ("class More(Meta):\n    def __init__(self):\n        self.size = 1\n", "has a constructor of its own"),
    ],
)
def test_what_would_be_without_the_field_makes_it_impossible(tmp_path: Path, others: str, said: str) -> None:
    old = "(default_factory=list)\n"
    after = edited(BEFORE, (old, f"{old}        wide: list[int] = field(default_factory=list)\n"))
    user = f"from dataclasses import dataclass\nfrom vllm_ascend.meta import Meta\n\n\n{others}"
    assert said in verdict(tmp_path, BEFORE, after, {USER: user})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("Meta(1, 2)", "not carried: a field that the change gives by its place"),
        ("Meta(*size)", "not carried: a field that the change gives by its place"),
        ("Meta(1, wide=2)", "carried"),
    ],
)
def test_a_field_that_stands_elsewhere_on_the_release_is_not_given_by_its_place(
    tmp_path: Path, call: str, expected: str
) -> None:
    before = BEFORE.replace("size: int\n", "size: int = 0\n")
    after = edited(
        before, ("size: int = 0\n", "size: int = 0\n        wide: int = 2\n"), ("return Meta(size)", f"return {call}")
    )
    result = carried(tmp_path, {META: before}, {META: before}, {META: after})
    said = next((each.reason for each in result.definitions if each.path == "Meta.wide" and each.reason), "")
    if expected == "carried":
        assert result.verdict == "carried"
    else:
        assert expected.partition(": ")[2] in said


def test_a_class_that_the_release_made_a_dataclass_of_another_kind_keeps_its_fields(tmp_path: Path) -> None:
    release = BEFORE.replace("@dataclass", "@dataclass(frozen=True)")
    result = carried(tmp_path, {META: release}, {META: BEFORE}, {META: AFTER})
    assert {each.path: each.verdict for each in result.definitions}["Meta.virtual"] == "cannot"
