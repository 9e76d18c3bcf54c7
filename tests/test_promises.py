"""The page of promises names what tests them: each file that it names is there and has tests, and each row has one."""

from __future__ import annotations

import re

from support import REPOSITORY

PAGE = (REPOSITORY / "docs" / "promises.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| promise"))
]


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
    assert all(len(row) == 3 for row in ROWS)


def test_each_names_a_file_with_tests() -> None:
    for promise, tested_by, _ in ROWS:
        named = re.findall(r"`(tests/[^`]+)`", tested_by)
        assert named, promise
        for name in named:
            file = REPOSITORY / name
            assert file.is_file(), f"{promise}: {name}"
            assert "\ndef test_" in file.read_text(encoding="utf-8"), f"{promise}: {name}"


def test_each_tool_and_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:tests|tools|docs)/[^`\s]+)", PAGE))
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
