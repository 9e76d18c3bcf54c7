"""The plot of a soak: the memory of each process over time, unpatched and patched, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP = 620, 120, 90, 60
_COLOURS = {"upstream": "#9aa1ad", "patched": "#1f5fa8"}


def plot(result: dict[str, Any]) -> str:
    """One panel for each process, one line for each engine."""
    roles = list(result["growth_in_mib"])
    height = _TOP + len(roles) * (_HEIGHT + 50)
    title = (
        f"{result['minutes']:g} minutes, {result['requests']} requests, {result['different']} answered differently: "
        "memory (MiB) of each process"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<text x="10" y="20">{title}</text>',
        *(
            f'<text x="{_LEFT + 80 * index}" y="42" fill="{colour}">{side}</text>'
            for index, (side, colour) in enumerate(_COLOURS.items())
        ),
    ]
    for index, role in enumerate(roles):
        lines += _panel(role, result, _TOP + index * (_HEIGHT + 50))
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _panel(role: str, result: dict[str, Any], top: float) -> list[str]:
    series = {side: result["memory_in_mib"][side][role] for side in _COLOURS}
    seconds = max(samples[-1][0] for samples in series.values()) or 1.0
    most = 1.1 * max(value for samples in series.values() for _, value in samples)
    grown = result["growth_in_mib"][role]
    note = ", ".join(f"{side} {grown[side]:+.1f}" for side in _COLOURS)
    lines = [
        f'<text x="10" y="{top + 20:.0f}">{role}</text>',
        f'<text x="{_LEFT}" y="{top + _HEIGHT + 20:.0f}" fill="#555">growth once warm: {note}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 10:.0f}" text-anchor="end" fill="#555">{most:.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{top + _HEIGHT:.0f}" text-anchor="end" fill="#555">0</text>',
        f'<path d="M{_LEFT} {top:.0f}V{top + _HEIGHT:.0f}H{_LEFT + _WIDTH}" fill="none" stroke="#bbb"/>',
    ]
    for side, colour in _COLOURS.items():
        points = _points(series[side], seconds, most, top)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return lines


def _points(samples: Sequence[Sequence[float]], seconds: float, most: float, top: float) -> str:
    return " ".join(
        f"{_LEFT + _WIDTH * when / seconds:.1f},{top + _HEIGHT * (1 - value / most):.1f}" for when, value in samples
    )
