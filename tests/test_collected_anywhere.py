"""Tests that `tools/test engines` picks by their mark are collected beside all others of their folders."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FOLDERS = ("distributed", "emulated_npu", "on_releases", "serving", "tools")
BROKEN = {"torchvision", "transformers"}
"""Beside a whole vLLM torchvision may have no operators for this build of torch, and transformers imports it."""


def imported(file: Path) -> set[str]:
    """The packages that a file imports when it is collected."""
    found: set[str] = set()
    for statement in ast.parse(file.read_text("utf-8")).body:
        if isinstance(statement, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found.add(statement.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_imported_to_be_collected_that_a_whole_vllm_may_have_broken(folder: str) -> None:
    files = sorted((HERE / folder).glob("*.py"))
    assert files
    assert {file.name: imported(file) & BROKEN for file in files if imported(file) & BROKEN} == {}
