"""What Python reads when it makes a class has done its work; and some classes take no attribute that is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.small_release import BEFORE, edited, verdict_of

META = """class Meta(type):
    def __new__(mcs, name, bases, names):
        names["a"] = 1
        return super().__new__(mcs, name, bases, names)


class Base(metaclass=Meta):"""
DESCRIPTOR = """class Field:
    def __set_name__(self, owner, name):
        self.name = name


class Base:
    field = Field()
"""
FRUIT = """from enum import Enum


class Fruit(Enum):
    def _generate_next_value_(name, start, count, last):
        return name

    APPLE = 1


class Base:"""


@pytest.mark.parametrize(
    ("base", "edit"),
    [
        (
            ("class Base:", "class Base:\n    def __init_subclass__(cls):\n        cls.y = 1\n"),
            ("cls.y = 1", "cls.y = 2"),
        ),
        (("class Base:", META), ('names["a"] = 1', 'names["a"] = 2')),
        (("class Base:", DESCRIPTOR), ("self.name = name", "self.name = name.lower()")),
        (("class Base:", FRUIT), ("return name\n", "return name.lower()\n")),
    ],
)
def test_a_method_that_runs_when_a_class_is_made_is_refused(
    tmp_path: Path, base: tuple[str, str], edit: tuple[str, str]
) -> None:
    verdict, said = verdict_of(tmp_path, edit, base=edited(BEFORE, base))
    assert (verdict, "runs when a class is made" in said) == ("not carried", True)


@pytest.mark.parametrize("edit", [("APPLE = 1", "APPLE = 2"), ("APPLE = 1", "APPLE = 1\n    PEAR = 2")])
def test_a_member_of_an_enumeration_is_refused(tmp_path: Path, edit: tuple[str, str]) -> None:
    assert verdict_of(tmp_path, edit, base=edited(BEFORE, ("class Base:", FRUIT)))[0] == "not carried"


@pytest.mark.parametrize(
    "heading",
    [
        "class Meta:\n    __slots__ = ('size',)",
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Meta:\n    size: int = 1",
        "from dataclasses import dataclass\n\n\n@dataclass(slots=True)\nclass Meta:\n    size: int = 1",
        "from typing import NamedTuple\n\n\nclass Meta(NamedTuple):\n    size: int = 1",
        "import msgspec\n\n\nclass Meta(msgspec.Struct):\n    size: int = 1",
        "from pydantic import BaseModel\n\n\nclass Meta(BaseModel):\n    size: int = 1",
    ],
)
def test_a_class_that_takes_no_new_attribute_is_given_none(tmp_path: Path, heading: str) -> None:
    base = edited(BEFORE, ("class Base:", f"{heading}\n\n    def go(self):\n        return 1\n\n\nclass Base:"))
    edit = ("    def go(self):\n        return 1", "    def go(self):\n        self.fresh = 1\n        return 1")
    release = {"vllm_ascend/imports.py": "import msgspec\nimport pydantic\n"}
    verdict, said = verdict_of(tmp_path, edit, base=base, release=release)
    assert (verdict, "an attribute fresh on self" in said) == ("not carried", True)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("(Noted):\n    pass", "notes the classes"),
        (":\n    @torch.library.register('x')\n    def go(self):\n        pass", "cannot be undone"),
        (":\n    torch.npu.set_x(1)", "cannot be undone"),
        (", metaclass=type):\n    pass", "runs when it is made"),
    ],
)
def test_a_class_that_does_more_than_to_be_there_is_not_added(tmp_path: Path, inside: str, said: str) -> None:
    noted = "class Noted:\n    def __init_subclass__(cls):\n        ALL.append(cls)\n\n\nclass Base:"
    heading = f"class Extra{inside}" if not inside.startswith(",") else f"class Extra(Base{inside}"
    edits = (
        ("class Runner(Base):", f"{heading}\n\n\nclass Runner(Base):"),
        ("return total", "return Extra() or total"),
    )
    release = {"vllm_ascend/sets.py": "import torch\n\n\ndef go():\n    torch.npu.set_x(2)\n"}
    base = edited(BEFORE, ("class Base:", f"ALL = []\n\n\n{noted}"))
    verdict, why = verdict_of(tmp_path, *edits, base=base, release=release)
    assert (verdict, said in why) == ("not carried" if verdict == "not carried" else "partly", True)
