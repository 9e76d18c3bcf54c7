"""Tables and paragraphs: as wide as the terminal, never broken within a word, never wrapped in a pipe."""

from __future__ import annotations

import io
import os

import pytest

from ascend_patches.commands import console

HEADINGS = ("patch", "state", "", "reason")
ROWS = [
    ["rotary-embedding", "applied", "", "variant vllm-ascend-0.14 fits: its code is that of vllm-ascend 0.18.0"],
    ["mla-kv-overlap", "skipped", "new", "switched off by default"],
    ["\u8865\u4e01", "waiting", "", "\u7b49\u5f85 vllm.model_executor.layers.attention.mm_encoder_attention"],
]
WORDS = {word for row in ROWS for cell in row for word in cell.split()}


@pytest.fixture(params=[1, 20, 40, 60, 72, 80, 120, 300])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(console, "width", lambda: request.param)
    return int(request.param)


def test_a_table_keeps_within_the_terminal_and_breaks_no_word(columns: int) -> None:
    lines = console.table(HEADINGS, ROWS).splitlines()
    assert {word for line in lines for word in line.split()} >= WORDS
    if columns >= 72:
        assert max(map(console._wide, lines)) <= columns


def test_a_paragraph_keeps_within_the_terminal_and_breaks_no_word(columns: int) -> None:
    lines = console.paragraph("reason", ROWS[0][3]).splitlines()
    assert " ".join(" ".join(lines).split()) == "reason " + ROWS[0][3]
    if columns >= 60:
        assert max(map(len, lines)) <= columns


def test_a_row_that_has_no_room_becomes_a_block_with_the_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", lambda: 40)
    lines = console.table(HEADINGS, ROWS[1:2]).splitlines()
    assert lines == ["mla-kv-overlap", "  state: skipped", "  new", "  reason: switched off by default"]


def test_where_there_is_no_terminal_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", lambda: None)
    assert len(console.table(HEADINGS, ROWS).splitlines()) == len(ROWS) + 1
    assert console.field("reason", "x " * 200).count("\n") == 0


def test_what_is_printed_after_the_reader_has_gone_is_dropped_and_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        output = console.Output(stream)
        for _ in range(3):
            output.write("x" * 100_000)
            output.flush()


def test_any_text_can_be_printed_whatever_the_encoding() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    output = console.Output(stream)
    output.write("\udcff \u8865\u4e01\n")
    output.flush()
    assert stream.buffer.getvalue() == b"\\udcff \\u8865\\u4e01\n"
