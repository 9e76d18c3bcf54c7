"""The README's table of ratios: host time of one forward, by encoder and release, as docs/bench_host.json has it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import host_page

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = {
    REPOSITORY / "README.md": ("one image, vllm-ascend", "; a provisional run"),
    REPOSITORY / "README.zh.md": ("单张图片 / vllm-ascend", " / 暂定数据"),
}
"""What the table's first cell begins with, and what it adds while the page has reservations."""


def with_table(page: Path, results: dict[str, Any]) -> str:
    """A README with the table that the numbers make."""
    title, provisional = WORDS[page]
    lines = [line + "\n" for line in _table(results, title, provisional)]
    text, count = re.subn(
        rf"^\| {re.escape(title)}.*\n(?:\|.*\n)*",
        lambda _: "".join(lines),
        page.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise ValueError(f"{page.name}: there are {count} tables that begin with '| {title}'; there has to be one")
    return text


def write(results: dict[str, Any]) -> None:
    """Put the table into both READMEs."""
    for page in WORDS:
        page.write_text(with_table(page, results), encoding="utf-8")


def _table(results: dict[str, Any], title: str, provisional: str) -> list[str]:
    releases = results["releases"]
    if results.get("reservations") or host_page.missing(results):
        title += provisional
    rows = [[title, *(name.removeprefix("vllm-ascend==") for name in releases)], ["---"] * (len(releases) + 1)]
    for encoder in dict.fromkeys(name for found in releases.values() for name in found):
        rows.append([encoder, *(_ratio(found.get(encoder)) for found in releases.values())])
    return [f"| {' | '.join(row)} |" for row in rows]


def _ratio(found: dict[str, Any] | None) -> str:
    case = (found or {}).get("images", {}).get("1", {}).get("again")
    return f"{case['ratio']:.2f}" if case else "-"
