"""The Chinese pages say what the English ones say: the same sections, commands, code and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import REPOSITORY

PAIRS = [
    (REPOSITORY / "README.md", REPOSITORY / "README.zh.md"),
    *((REPOSITORY / "docs" / page.name, page) for page in sorted((REPOSITORY / "docs" / "zh").glob("*.md"))),
]
both = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[chinese.name for _, chinese in PAIRS])


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@both
def test_the_sections_are_the_same(english: Path, chinese: Path) -> None:
    levels = [re.findall(r"^(#+) ", without_code(read(page)), re.MULTILINE) for page in (english, chinese)]
    assert levels[0] == levels[1]


@both
def test_the_code_is_the_same(english: Path, chinese: Path) -> None:
    blocks = [re.findall(r"^```.*?^```$", read(page), re.MULTILINE | re.DOTALL) for page in (english, chinese)]
    assert blocks[0] == blocks[1]


@both
def test_each_table_has_as_many_rows(english: Path, chinese: Path) -> None:
    tables = [re.findall(r"(?:^\|.*\n)+", without_code(read(page)), re.MULTILINE) for page in (english, chinese)]
    assert [table.count("\n") for table in tables[0]] == [table.count("\n") for table in tables[1]]


@both
def test_the_names_of_commands_variables_and_patches_are_the_same(english: Path, chinese: Path) -> None:
    named = [set(re.findall(r"`([^`\n]+)`", without_code(read(page)))) for page in (english, chinese)]
    assert sorted(named[0] ^ named[1]) == []


@both
def test_each_names_the_other(english: Path, chinese: Path) -> None:
    assert chinese.name in read(english)
    assert f"({'' if chinese.parent == REPOSITORY else '../'}{english.name})" in read(chinese)


@both
def test_every_link_leads_somewhere(english: Path, chinese: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", read(chinese))]
    assert [link for link in links if "://" not in link and link and not (chinese.parent / link).exists()] == []


@both
def test_it_is_in_chinese(english: Path, chinese: Path) -> None:
    paragraphs = [part for part in without_code(read(chinese)).split("\n\n") if len(part) > 80]
    assert [part for part in paragraphs if not re.search(r"[\u4e00-\u9fff]", part)] == []
