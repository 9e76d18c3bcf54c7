"""Fields of dataclasses that look as if they could be carried, and that something would miss, or see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from carrying.installed import installed
from carrying.made_releases import Files, carried
from carrying.small_release import edited

from ascend_patches.carrying.ordering import parts

META = "vllm_ascend/meta.py"
USER = "vllm_ascend/user.py"
BEFORE = dedent("""\
    from dataclasses import dataclass, field


    class Base:
        pass


    @dataclass
    class Meta(Base):
        size: int = 0
        names: list[str] = field(default_factory=list)

        @classmethod
        def of(cls, size):
            return cls(size)


    def make(size):
        return Meta(size)
""")
LAST = "    names: list[str] = field(default_factory=list)\n"
PLAIN = (LAST, f"{LAST}    virtual: bool = False\n")
MADE = (LAST, f"{LAST}    virtual: list[int] = field(default_factory=list)\n")
FIRST = ("    size: int = 0\n", "    size: int = 0\n    wide: int = 2\n")


def verdict(folder: Path, *edits: tuple[str, str], base: str = BEFORE, user: str = "", upstream: str = "") -> str:
    """What becomes of a change to META, and why; ``user`` is more of the release, and ``upstream`` of its tree."""
    head = "import dataclasses\nfrom vllm_ascend.meta import Meta, make\n\n\n"
    release: Files = {META: base, USER: head + user}
    before = {META: BEFORE, **({USER: head + upstream} if upstream else {})}
    result = carried(folder, release, before, {**before, META: edited(BEFORE, *edits)})
    said = [f"{each.reason} {'; '.join(each.doubts)}" for each in result.definitions]
    return f"{result.verdict}: {' '.join(said)}"


def test_a_field_that_nothing_misses_is_carried(tmp_path: Path) -> None:
    assert verdict(tmp_path, PLAIN, user="def go():\n    return Meta(1)\n").startswith("carried")


@pytest.mark.parametrize(
    "user",
    [
        "DECODER = Decoder(Meta)\n",
        "NAMES = [each.name for each in dataclasses.fields(Meta)]\n",
        "MORE = dataclasses.make_dataclass('More', [], bases=(Meta,))\n",
        "INIT = Meta.__init__\n",
        "FIELDS = Meta.__dataclass_fields__\n",
        "def init(self):\n    pass\n\n\nMeta.__init__ = init\n",
    ],
)
def test_what_may_have_read_the_fields_at_import_stops_it(tmp_path: Path, user: str) -> None:
    found = verdict(tmp_path, PLAIN, user=user)
    assert (found.startswith("not carried"), "may have read the fields" in found) == (True, True), found


@pytest.mark.parametrize("user", ["KIND = TypeVar('KIND', bound=Meta)\n", "class Holder:\n    meta: Meta\n"])
def test_what_only_names_the_class_at_import_does_not(tmp_path: Path, user: str) -> None:
    assert verdict(tmp_path, PLAIN, user=f"from typing import TypeVar\n\n\n{user}").startswith("carried")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("ONE = make(1)\n", "made an instance without it"),
        ("def go():\n    return Meta.__new__(Meta)\n", "without its constructor"),
        ("def go():\n    return object.__new__(Meta)\n", "without its constructor"),
    ],
)
def test_an_instance_that_would_be_without_a_value_of_its_own_stops_it(tmp_path: Path, user: str, said: str) -> None:
    assert said in verdict(tmp_path, MADE, user=user)


@pytest.mark.parametrize(
    "user",
    [
        "def go(meta):\n    return getattr(meta, 'virtual', True)\n",
        "def go(meta):\n    return 1 if hasattr(meta, 'virtual') else 2\n",
        "def go(meta):\n    meta.virtual = 7\n",
        "def go(other, meta):\n    return other(**dataclasses.asdict(meta))\n",
        "def go(meta):\n    return [each.name for each in dataclasses.fields(meta)]\n",
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_code_that_sees_the_field_is_doubted_unless_upstream_has_it_as_well(
    tmp_path: Path, user: str, known: bool
) -> None:
    found = verdict(tmp_path, PLAIN, user=user, upstream=user if known else "")
    assert found.startswith("carried" if known else "review"), found


@pytest.mark.parametrize("member", ["virtual = True", "def virtual(self):\n        return 1"])
def test_a_base_that_has_the_name_would_be_hidden(tmp_path: Path, member: str) -> None:
    base = edited(BEFORE, ("class Base:\n    pass", f"class Base:\n    {member}"))
    assert "has a virtual of its own" in verdict(tmp_path, PLAIN, base=base)


@pytest.mark.parametrize(
    "edit",
    [
        ("return cls(size)", "return cls(size, 5)"),
        ("return Meta(size)", "return type(size)(size, 5)"),
        ("return Meta(size)", "return dataclasses.astuple(Meta(size))[1]"),
        (
            "return Meta(size)",
            "match size:\n        case Meta(_, wide):\n            return wide\n    return Meta(size)",
        ),
    ],
)
def test_code_of_the_change_that_goes_by_the_order_of_the_fields_stops_it(
    tmp_path: Path, edit: tuple[str, str]
) -> None:
    assert "by its place" in verdict(tmp_path, FIRST, edit)


@pytest.mark.parametrize(
    "source", ["from pydantic.dataclasses import dataclass", "from vllm_ascend.tools import dataclass"]
)
def test_another_decorator_of_that_name_is_refused(tmp_path: Path, source: str) -> None:
    base = edited(BEFORE, ("from dataclasses import dataclass, field", f"from dataclasses import field\n{source}"))
    assert "made from its fields" in verdict(tmp_path, PLAIN, base=base)


def test_a_class_that_takes_its_attributes_in_its_own_way_is_refused(tmp_path: Path) -> None:
    base = edited(
        BEFORE, ("    @classmethod", "    def __setattr__(self, name, value):\n        pass\n\n    @classmethod")
    )
    assert "made from its fields" in verdict(tmp_path, PLAIN, base=base)


@pytest.mark.parametrize("name", ["__post_init__", "__eq__", "__repr__", "__hash__", "__init__"])
def test_a_method_that_the_decorator_heeds_comes_too_late(tmp_path: Path, name: str) -> None:
    found = verdict(
        tmp_path, ("    @classmethod", f"    def {name}(self):\n        return self.size\n\n    @classmethod")
    )
    assert (found.startswith("not carried"), name in found) == (True, True), found


def run(folder: Path, edit: tuple[str, str], code: str) -> Any:
    """What a process prints that runs some code with the patch installed, and applied when META is imported."""
    fixed = edited(BEFORE, edit)
    environment = installed(folder, {META: BEFORE}, {META: fixed}, "carried-fields")
    text = f"import dataclasses, functools, json\nimport ascend_patches\n\n\n{dedent(code)}"
    done = subprocess.run([sys.executable, "-c", text], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LATE = """
from vllm_ascend import meta
from vllm_ascend.meta import Meta
{before}
ascend_patches.apply_patches()
own = next(each for each in ascend_patches.status()["patches"] if each["name"] == "carried-fields")
print(json.dumps([own["state"], own["reason"], [each.name for each in dataclasses.fields(Meta)]]))
"""


@pytest.mark.parametrize(
    ("edit", "before", "said"),
    [
        (MADE, "one = Meta(1)", "1 instances were made before"),
        (
            PLAIN,
            "Plain = type('Plain', (Meta,), {})\nGrand = dataclasses.make_dataclass('Grand', [], bases=(Plain,))",
            "Grand",
        ),
        (
            PLAIN,
            "Meta.__init__ = functools.wraps(Meta.__init__)(lambda self, *given: None)",
            "it has a constructor of its own",
        ),
    ],
)
def test_what_a_process_has_made_of_the_class_stops_the_patch(
    tmp_path: Path, edit: tuple[str, str], before: str, said: str
) -> None:
    state, reason, fields = run(tmp_path, edit, LATE.format(before=before))
    assert (state, said in reason, fields) == ("failed", True, ["size", "names"]), reason


def test_instances_from_before_have_a_plain_default(tmp_path: Path) -> None:
    state, reason, fields = run(tmp_path, PLAIN, LATE.format(before="one = Meta(1)"))
    assert (state, fields) == ("applied", ["size", "names", "virtual"]), reason


def test_a_wrapper_that_came_later_is_left_alone_by_a_revert(tmp_path: Path) -> None:
    code = """
        ascend_patches.apply_patches()
        from vllm_ascend.meta import Meta
        inner = Meta.__init__

        @functools.wraps(inner)
        def counted(self, *given, **named):
            counted.calls += 1
            inner(self, *given, **named)

        counted.calls = 0
        Meta.__init__ = counted
        try:
            ascend_patches.revert_patches("carried-fields")
            said = ""
        except Exception as error:
            said = type(error).__name__
        one = Meta(1)
        print(json.dumps([counted.calls, Meta.__init__ is counted, repr(one)]))
    """
    calls, kept, shown = run(tmp_path, PLAIN, code)
    assert (calls, kept, shown) == (1, True, "Meta(size=1, names=[], virtual=False)")


def test_a_hash_that_the_decorator_wrote_counts_the_new_field(tmp_path: Path) -> None:
    base = BEFORE.replace("@dataclass\n", "@dataclass(unsafe_hash=True)\n").replace(LAST, "    names: str = ''\n")
    fixed = base.replace("    names: str = ''\n", "    names: str = ''\n    virtual: bool = False\n")
    environment = installed(tmp_path, {META: base}, {META: fixed}, "carried-fields")
    code = """
        import ascend_patches
        ascend_patches.apply_patches()
        from vllm_ascend.meta import Meta
        there = hash(Meta(1, virtual=True)) != hash(Meta(1))
        ascend_patches.revert_patches("carried-fields")
        print(there, hash(Meta(1)) == hash((1, "")))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_who_gives_the_field_in_another_file_goes_in_place_with_it(tmp_path: Path) -> None:
    user = "from vllm_ascend.meta import Meta\n\n\ndef go(size):\n    return Meta(size)\n"
    before = {META: BEFORE, USER: user}
    after = {META: edited(BEFORE, PLAIN), USER: edited(user, ("Meta(size)", "Meta(size, virtual=True)"))}
    result = carried(tmp_path, before, before, after)
    assert result.verdict == "carried"
    assert len(parts(result.carried)) == 1
