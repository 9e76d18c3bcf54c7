"""A JSON schema of patches.toml, for editors that check and complete while a person types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ascend_patches.declaring.patch import Option, OptionValue, Patch
from ascend_patches.settings.model import MODES, REPORT_READERS, UNKNOWN

FILE = "patches.schema.json"
"""The name that a written patches.toml refers to, beside it."""

_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_RANGE = {"type": "string", "description": "a range of versions, such as >=0.15,<0.18 or ==0.15.* or 0.15.0"}


def settings_schema(patches: Iterable[Patch]) -> dict[str, Any]:
    """The schema of a settings file that speaks of these patches."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "patches.toml of ascend-patches",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "mode": {"enum": list(MODES), "description": "strict: the server does not start without its patches"},
            "unknown": _unknown(),
            **_trust(),
            "report_readers": {
                "enum": list(REPORT_READERS),
                "description": "users that may read the reports",
            },
            "patches": {
                "type": "object",
                "additionalProperties": False,
                "properties": {patch.name: _patch(patch) for patch in patches},
            },
        },
    }


def _patch(patch: Patch) -> dict[str, Any]:
    values = {
        "enabled": {"type": "boolean", "default": patch.default, "description": "whether the patch is on"},
        "unknown": _unknown(),
        **_trust(),
        **{name: _option(option) for name, option in patch.options.items()},
    }
    override = {
        "type": "object",
        "additionalProperties": False,
        "required": ["when"],
        "minProperties": 2,
        "properties": {
            "when": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": _RANGE,
                "description": "the releases that these values are for, by distribution",
            },
            **values,
        },
    }
    table = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**values, "override": {"type": "array", "items": override}},
    }
    return {"description": patch.summary, "anyOf": [{"type": "boolean"}, table]}


def _option(option: Option) -> dict[str, Any]:
    said = {"default": option.default, "description": f"{option.meaning} ({option.expected()})"}
    least = {"minimum": option.least} if option.least is not None else {}
    if not option.choices:
        return {"type": _TYPES[type(option.default)], **least, **said}
    choices: list[OptionValue] = list(option.choices)
    if option.or_any is None:
        return {"enum": choices, **said}
    return {"anyOf": [{"enum": choices}, {"type": _TYPES[option.or_any], **least}], **said}


def _unknown() -> dict[str, Any]:
    return {"enum": list(UNKNOWN), "description": "what to do where upstream's code was never verified"}


def _trust() -> dict[str, Any]:
    return {
        "shadow": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "the share of calls that are compared with the original",
        },
        "quarantine": {
            "type": "integer",
            "minimum": 0,
            "description": "after how many differences a patch is reverted; 0 for never",
        },
    }
