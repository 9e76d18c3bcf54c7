"""A class that gets a further base is given it where it stands, and loses it again; what cannot be given is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from carrying.installed import installed
from carrying.made_releases import carried

PLACE = "vllm_ascend/connector.py"
MIXINS = "vllm/mixins.py"
BEFORE = """
    from vllm.mixins import Base


    class Connector(Base):
        kind = 1

        def finished(self):
            return 1


    class Child(Connector):
        pass
"""
AFTER = """
    from vllm.mixins import Base, Groups


    class Connector(
        Base,
        Groups,
    ):
        kind = 1

        def finished(self):
            return 2

        def finished_groups(self):
            return self.finished()


    class Child(Connector):
        pass
"""
RELEASE = {
    PLACE: BEFORE,
    MIXINS: """
        from abc import ABC, abstractmethod


        class Base(ABC):
            @abstractmethod
            def finished(self):
                ...


        class Groups(ABC):
            @abstractmethod
            def finished_groups(self):
                ...

            def many(self):
                return [self.finished_groups()]


        def supports(kind):
            return issubclass(kind, Groups) and hasattr(kind, "many")
    """,
}
LOOK = """
    import json
    import ascend_patches
    from vllm.mixins import supports, Groups
    import vllm_ascend.connector as module
    old = module.Child()

    def seen():
        return [supports(module.Connector), supports(module.Child), isinstance(old, Groups), old.finished(),
                [each.__name__ for each in module.Connector.__bases__], hasattr(module.Connector, "finished_groups")]

    told = [seen()]
    ascend_patches.apply_patches()
    told.append([each["state"] for each in ascend_patches.status()["patches"] if each["name"] == "carried-123"])
    told += [seen(), old.many()]
    ascend_patches.revert_patches("carried-123")
    print(json.dumps([*told, seen()]))
"""


def test_an_existing_class_and_its_instances_get_the_base_and_lose_it(tmp_path: Path) -> None:
    environment = installed(tmp_path, RELEASE, {PLACE: AFTER}, "carried-123")
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOOK)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    before = [False, False, False, 1, ["Base"], False]
    assert json.loads(done.stdout.splitlines()[-1]) == [
        before,
        ["applied"],
        [True, True, True, 2, ["Base", "Groups"], True],
        [2],
        before,
    ]


@pytest.mark.parametrize(
    ("mixin", "after", "said"),
    [
        ("", AFTER.replace("        Base,\n", ""), "loses or changes a base"),
        ("", AFTER.replace("        Base,\n        Groups,", "        Groups,\n        Base,"), "loses or changes"),
        ("", AFTER.replace("Groups,\n    )", "Groups,\n        metaclass=type,\n    )"), "decorators or keywords"),
        ("", AFTER.replace("    class Connector", "    @Base.register\n    class Connector"), "decorators or keywords"),
        ("", AFTER.replace("finished_groups", "other"), "lacks finished_groups"),
        ("def __init_subclass__(cls):\n        pass", AFTER, "has __init_subclass__"),
        ("def __init__(self):\n        self.table = {}", AFTER, "has __init__"),
        ("__slots__ = ('a',)", AFTER, "has __slots__"),
        ("", AFTER.replace("Groups", "Missing"), "is not of the release's packages"),
    ],
)
def test_what_an_existing_class_cannot_be_given_is_refused(tmp_path: Path, mixin: str, after: str, said: str) -> None:
    release = dict(RELEASE)
    if mixin:
        head = "class Groups(ABC):\n"
        release[MIXINS] = dedent(release[MIXINS]).replace(head, f"{head}    {mixin}\n\n")
    result = carried(tmp_path, release, {PLACE: BEFORE}, {PLACE: after})
    reasons = " ".join(each.reason for each in result.definitions)
    assert (result.verdict in ("partly", "not carried"), said in reasons) == (True, True), (result.verdict, reasons)


def test_a_metaclass_that_the_class_was_not_made_with_cannot_be_given(tmp_path: Path) -> None:
    release = {**RELEASE, MIXINS: RELEASE[MIXINS].replace("class Base(ABC):", "class Base:")}
    result = carried(tmp_path, release, {PLACE: BEFORE}, {PLACE: AFTER})
    assert (result.verdict, "metaclass" in result.definitions[0].reason + result.definitions[1].reason) == (
        "partly",
        True,
    )
