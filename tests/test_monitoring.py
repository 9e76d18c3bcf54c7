"""The alert rules and the dashboard that ship: they ask for series and states that a process reports."""

from __future__ import annotations

import json
import re

from support import REPOSITORY

MONITORING = REPOSITORY / "docs" / "monitoring"
RULES = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
METRICS = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "ascend_patches").rglob("*.py"))
STATES = {"waiting", "applied", "overwritten", "skipped", "failed", "reverted"}


def expressions() -> list[str]:
    rules = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", RULES)
    return [*rules, *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])]


def test_every_series_that_is_asked_for_is_one_that_a_process_reports() -> None:
    named = {name for text in expressions() for name in re.findall(r"ascend_patches_\w+", text)}
    assert named == {
        "ascend_patches_state",
        "ascend_patches_shadow_compared_total",
        "ascend_patches_shadow_mismatches_total",
    }
    assert [name for name in named if name.removesuffix("_total") not in METRICS] == []


def test_every_state_that_is_asked_for_is_one() -> None:
    asked = re.findall(r'state=~?"([^"$]+)"', "\n".join(expressions()))
    assert {state for text in asked for state in text.split("|")} <= STATES


def test_every_alert_says_what_is_the_matter_and_what_to_do() -> None:
    alerts = RULES.split("- alert: ")[1:]
    assert len(alerts) == 4
    for alert in alerts:
        assert "severity: " in alert
        assert "summary: " in alert
        assert "description: " in alert


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
