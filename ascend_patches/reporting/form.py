"""The form of a report: every field that is shown or counted has its type, so that no reader meets another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 10_000
"""Characters in one text: a reason that names many holders is long, but not as long as this."""
MOST = 1_000
"""Entries in one list or table."""
_LARGEST_PID = 2**31
_PRINTED = re.compile(r"[^\s]{1,200}")

Check = Callable[[object], bool]


class FormError(ValueError):
    """What is not as a report has it, in words: the field, and what is expected there."""


def checked(data: object) -> dict[str, Any]:
    """The report, if it is one; what has no field of that name, in a report of another release, is left as it is."""
    report = _table("the report", data, _REPORT, required=("host", "pid", "problems", "patches"))
    names = []
    for index, patch in enumerate(report["patches"]):
        where = f"patches[{index}]"
        _table(where, patch, _PATCH, required=("name", "state", "variant", "reason"))
        names.append(patch["name"])
        for place, target in enumerate(patch.get("targets") or ()):
            _table(f"{where}.targets[{place}]", target, dict.fromkeys(("target", "state", "reason"), TEXT))
        if patch.get("shadow") is not None:
            _table(f"{where}.shadow", patch["shadow"], _SHADOW)
    if len(set(names)) != len(names):
        raise FormError("two patches have the same name")
    if report.get("process") is not None:
        _table("process", report["process"], _PROCESS, required=tuple(_PROCESS))
    return report


def shortened(value: Any) -> Any:
    """Data of a report without the end of what is too long, so that what is written can be read again."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[: LONGEST - 3]}..."
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in list(value.items())[:MOST]}
    if isinstance(value, (list, tuple)):
        return [shortened(each) for each in value[:MOST]]
    return value


def _table(
    where: str, value: object, fields: Mapping[str, tuple[str, Check]], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormError(f"{where} is no table")
    for name in required:
        if name not in value:
            raise FormError(f"{where} has no {name}")
    for name, (expected, admits) in fields.items():
        if name in value and not admits(value[name]):
            raise FormError(f"{where}: {name} is not {expected}")
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _is_name(value: object) -> bool:
    """Whether it can be a name in a table and a label in metrics."""
    return isinstance(value, str) and value.isprintable() and _PRINTED.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_pid(value: object) -> bool:
    return type(value) is int and 0 < value < _LARGEST_PID


def _or_none(check: tuple[str, Check]) -> tuple[str, Check]:
    expected, admits = check
    return f"{expected} or null", lambda value: value is None or admits(value)


def _list_of(what: str, admits: Check) -> tuple[str, Check]:
    return f"a list of {what}", lambda value: isinstance(value, list) and all(map(admits, value))


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _are_versions(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(found, dict) and all(_or_none(TEXT)[1](each) for each in found.values()) for found in value.values()
    )


TEXT = ("a text", _is_text)
_NAME = ("a name", _is_name)
_COUNT = ("a count", _is_count)
_TEXTS = _list_of("texts", _is_text)
_REPORT: Mapping[str, tuple[str, Check]] = {
    "host": TEXT,
    "pid": ("the number of a process", _is_pid),
    "process": _or_none(("a table", _is_table)),
    "command": _TEXTS,
    "mode": TEXT,
    "activated_by": _or_none(TEXT),
    "settings_file": _or_none(TEXT),
    "identity": TEXT,
    "versions": ("a table of versions", _are_versions),
    "problems": _TEXTS,
    "patches": _list_of("tables", _is_table),
}
_PROCESS: Mapping[str, tuple[str, Check]] = {"boot": TEXT, "namespace": TEXT, "started": _COUNT}
_PATCH: Mapping[str, tuple[str, Check]] = {
    "name": _NAME,
    "state": _NAME,
    "variant": _or_none(_NAME),
    "reason": TEXT,
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "options": ("a table", _is_table),
    "shadow": _or_none(("a table", _is_table)),
    "targets": _or_none(_list_of("tables", _is_table)),
}
_SHADOW: Mapping[str, tuple[str, Check]] = {
    "share": ("a number", lambda value: type(value) in (int, float)),
    **dict.fromkeys(("quarantine", "compared", "mismatches", "original_failed", "left_out"), _COUNT),
}
