"""The plot of a soak that hurts: the memory of each process from start to start, and what happened when, as SVG."""

from __future__ import annotations

from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP = 620, 120, 90, 76
_LINE = "#1f5fa8"
_COLOURS = {
    "worker killed": "#c0392b",
    "revert": "#e67e22",
    "apply": "#27ae60",
    "quarantine": "#8e44ad",
    "hostile files": "#7f8c8d",
    "reports nowhere to go": "#16a085",
    "settings changed": "#f1c40f",
    "status": "#bdc3c7",
}


def plot(result: dict[str, Any]) -> str:
    """One panel for each process, one line for each start, one mark for each thing that happened."""
    roles = list(result["growth_in_mib"])
    height = _TOP + len(roles) * (_HEIGHT + 50)
    title = (
        f"{result['minutes']:g} minutes, {result['requests']} requests, {result['different']} answered differently, "
        f"{result['failed']} failed; {result['starts']} starts: memory (MiB) of the patched engine"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<text x="10" y="20">{title}</text>',
    ]
    for index, (kind, count) in enumerate(result["storms"].items()):
        x, y = 10 + 185 * (index % 4), 42 + 16 * (index // 4)
        lines.append(f'<text x="{x}" y="{y}" fill="{_COLOURS.get(kind, "#555")}">{kind}: {count}</text>')
    seconds = 60 * result["minutes"] or 1.0
    for index, role in enumerate(roles):
        lines += _panel(role, result, seconds, _TOP + index * (_HEIGHT + 50))
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _panel(role: str, result: dict[str, Any], seconds: float, top: float) -> list[str]:
    series = [life[role] for life in result["memory_in_mib"] if life.get(role)]
    most = 1.1 * max(value for samples in series for _, value in samples)

    def x(when: float) -> float:
        return _LEFT + _WIDTH * min(when / seconds, 1.0)

    lines = [
        f'<text x="10" y="{top + 20:.0f}">{role}</text>',
        (
            f'<text x="{_LEFT}" y="{top + _HEIGHT + 20:.0f}" fill="#555">growth once warm, in the longest life: '
            f"{result['growth_in_mib'][role]:+.1f}</text>"
        ),
        f'<text x="{_LEFT - 6}" y="{top + 10:.0f}" text-anchor="end" fill="#555">{most:.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{top + _HEIGHT:.0f}" text-anchor="end" fill="#555">0</text>',
        f'<path d="M{_LEFT} {top:.0f}V{top + _HEIGHT:.0f}H{_LEFT + _WIDTH}" fill="none" stroke="#bbb"/>',
    ]
    for when, kind in result["storms_at"]:
        lines.append(
            f'<path d="M{x(when):.1f} {top + _HEIGHT:.0f}v-10" stroke="{_COLOURS.get(kind, "#555")}" stroke-width="2"/>'
        )
    for samples in series:
        points = " ".join(f"{x(when):.1f},{top + _HEIGHT * (1 - value / most):.1f}" for when, value in samples)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>')
    return lines
