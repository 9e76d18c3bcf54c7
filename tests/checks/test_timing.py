"""How cases are timed on a device that has times: upstream and patched take turns."""

from __future__ import annotations

from typing import Any

import pytest

from ascend_patches.checks import runner
from ascend_patches.commands import verify_process as process


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens while cases are timed, in order."""
    seen: list[str] = []
    monkeypatch.setattr(process.ascend_patches, "apply_patches", lambda: seen.append("apply"))
    monkeypatch.setattr(process.ascend_patches, "revert_patches", lambda: seen.append("revert"))
    return seen


def timed(events: list[str], *, refused: str = "") -> dict[str, Any]:
    outcome: dict[str, Any] = {"original": {"milliseconds": None}, "patched": {"milliseconds": None}}
    original = runner.Side(again=lambda: events.append("upstream"), refused=refused)
    patched = runner.Side(again=lambda: events.append("patched"))
    process._time([outcome], [original], [patched], lambda _: None)
    return outcome


def test_the_sides_take_turns_each_with_its_own_code(events: list[str]) -> None:
    timed(events)
    assert events == ["revert", "upstream", "apply", "patched"] * process.ROUNDS


def test_both_sides_get_a_time(events: list[str]) -> None:
    outcome = timed(events)
    assert outcome["original"]["milliseconds"] > 0
    assert outcome["patched"]["milliseconds"] > 0


def test_what_was_refused_is_not_called_again(events: list[str]) -> None:
    outcome = timed(events, refused="ValueError: no")
    assert outcome["original"]["milliseconds"] is None
    assert "upstream" not in events
