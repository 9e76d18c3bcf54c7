"""Tests that pass unpatched and fail patched because of an internal detail: part of the name -> which one, and why."""

from __future__ import annotations

EXPLAINED: dict[str, str] = {}
