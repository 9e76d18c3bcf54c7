"""What the benchmarks found out about a patch, as this package carries it; ``tools/bench_vision --write`` keeps it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def of_patch(name: str) -> dict[str, Any] | None:
    """``measured`` (the day), ``what`` and ``counts``: one entry per release, each count before and after."""
    text = resources.files("ascend_patches.commands").joinpath("measured.json").read_text(encoding="utf-8")
    found: dict[str, Any] | None = json.loads(text).get(name)
    return found


def in_words(found: dict[str, Any]) -> list[str]:
    """One line for what was measured and when, and one for each release."""
    return [f"{found['what']}; {found['measured']}", *map(_line, found["counts"])]


def _line(counts: dict[str, Any]) -> str:
    pairs = {what: pair for what, pair in counts.items() if isinstance(pair, list)}
    numbers = [f"{what} {before:g} -> {after:g}" for what, (before, after) in pairs.items()]
    return f"{counts['of']}, {counts['release'].replace('==', ' ')}: {', '.join(numbers)}"
