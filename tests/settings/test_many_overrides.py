"""Thousands of overrides, as a tool may write them: read at once, and every contradiction is found all the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Option, Patch, Rewrite, Variant
from ascend_patches.errors import SettingsError
from ascend_patches.settings import contradictions, reader
from ascend_patches.upstream import versions
from ascend_patches.upstream.environment import Environment

PATCH = Patch(
    "quick",
    "a patch for a test",
    (Variant("only", always, (Rewrite("vllm.engine:total", replace=print),)),),
    options={"size": Option(1, "a size")},
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Iterable[tuple[str, str]]], reader.Settings]:
    def read_overrides(overrides: Iterable[tuple[str, str]]) -> reader.Settings:
        text = "\n".join(f"[[patches.quick.override]]\nwhen = {{ {when} }}\n{value}" for when, value in overrides)
        (file := tmp_path / "patches.toml").write_text(text)
        return reader.read_file(str(file), {"quick": PATCH})

    return read_overrides


def on(index: int) -> str:
    return f"enabled = {'true' if index % 2 else 'false'}"


MANY = 2_500
TABLES: dict[str, list[tuple[str, str]]] = {
    "releases": [(f'vllm = "==0.{index}"', on(index)) for index in range(MANY)],
    "ranges": [(f'vllm = ">=0.{index},<0.{index + 1}"', on(index)) for index in range(MANY)],
    "series": [(f'vllm = "==0.{index}.*"', on(index)) for index in range(MANY)],
    "one range": [('vllm = ">=0.1"', "enabled = true")] * MANY,
    "one range beside all others": [('vllm = "!=1.5"', on(1)), ('vllm = "==1.5"', on(0))] * (MANY // 2),
    "two packages": [(f'vllm = ">=0", vllm-ascend = "0.{index}"', on(index)) for index in range(MANY)],
    "either package": [(f'{"vllm" if index % 2 else "vllm-ascend"} = "0.{index}"', on(index)) for index in range(MANY)],
    "candidates": [(f'vllm = "==0.1rc{index}"', on(index)) for index in range(MANY)],
    "posts": [(f'vllm = "==0.1.post{index}"', on(index)) for index in range(MANY)],
    "builds": [(f'vllm = "==0.1+build.{index}"', on(index)) for index in range(MANY)],
    "values": [(f'vllm = "==0.{index}"', f"size = {index}") for index in range(MANY)],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_next_to_no_two_are_compared_in_full(
    table: list[tuple[str, str]],
    read: Callable[[Iterable[tuple[str, str]]], reader.Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    meets = versions.Range.meets

    def counted(self: versions.Range, other: versions.Range) -> bool:
        compared.append(1)
        return meets(self, other)

    monkeypatch.setattr(versions.Range, "meets", counted)
    settings = read(table)
    assert len(settings.patches["quick"].overrides) == len(table)
    assert len(compared) < 10
    settings.choice(PATCH, Environment({"vllm": "0.1500.0", "vllm-ascend": "0.1500"}))


def test_a_table_in_which_all_contradict_is_refused_in_a_page(
    read: Callable[[Iterable[tuple[str, str]]], reader.Settings],
) -> None:
    with pytest.raises(SettingsError) as error:
        read([('vllm = ">=0.1"', on(index)) for index in range(MANY)])
    assert len(error.value.mistakes) == MANY - 1
    assert str(error.value).splitlines()[-1] == f"... and {MANY - 51} mistakes more"


RANGES = (
    *("0.1", "==0.1", "!=0.1", ">0.1", "<0.1", ">=0.1", "<=0.1", "==0.1.*", "!=0.1.*", ">=0.1,<0.2", ">0.1,<0.1.1"),
    *("==0.1rc1", ">0.1rc1", "<0.1rc1", "==0.1.post1", ">=0.1.post1", "<0.1.post1", "==0.1.dev1", "<0.1.dev1"),
    *(
        "==0.1+cpu",
        "!=0.1+cpu",
        "==0.1+empty",
        "==0.1rc1+cpu",
        "==0.*",
        "==0.1.0.*",
        "<0",
        ">0.2,<0.1",
    ),
    *("==0.1.0.0", "==0.1.1", ">=0.1.0.1", "==0.1a2", ">=0.1rc2,<=0.1rc3", "==0.1.post0", ">0.1.post0.dev0,<0.1.post1"),
)


def test_what_is_passed_over_can_never_meet() -> None:
    for one in map(versions.parse_range, RANGES):
        for other in map(versions.parse_range, RANGES):
            (start, end), (begin, finish) = one.hull(), other.hull()
            if one.meets(other):
                assert max(start, begin) < min(end, finish), (one.text, other.text)


def test_the_same_contradictions_are_found_as_by_comparing_all(
    read: Callable[[Iterable[tuple[str, str]]], reader.Settings],
) -> None:
    chosen = random.Random(5)
    for _ in range(60):
        table = []
        for _ in range(12):
            packages = chosen.sample(["vllm", "vllm-ascend", "torch"], chosen.randint(1, 2))
            when = ", ".join(f'{package} = "{chosen.choice(RANGES)}"' for package in packages)
            table.append((when, chosen.choice([on(0), on(1), "size = 1", "size = 2", "enabled = true\nsize = 1"])))
        overrides = _unchecked(read, table)
        expected = {}
        for index, later in enumerate(overrides):
            for place, earlier in enumerate(overrides[:index]):
                shared = later.when.keys() & earlier.when.keys()
                both = later.values.keys() & earlier.values.keys()
                differ = any(later.values[key] != earlier.values[key] for key in both)
                if shared and differ and all(later.when[name].meets(earlier.when[name]) for name in shared):
                    expected[index] = place
                    break
        found = {
            overrides.index(one.later): overrides.index(one.earlier) for one in contradictions.contradictions(overrides)
        }
        assert found == expected


def _unchecked(
    read: Callable[[Iterable[tuple[str, str]]], reader.Settings], table: list[tuple[str, str]]
) -> list[contradictions.Override]:
    found = []
    for index, entry in enumerate(table):
        (override,) = read([entry]).patches["quick"].overrides
        found.append(override._replace(path=("patches", "quick", "override", index)))
    return found
