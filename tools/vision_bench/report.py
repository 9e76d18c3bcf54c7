"""The page and the plot of what encoders cost, and what of it the package carries for ``ascend-patches explain``."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]
"""``layers``, ``wanted`` (releases there should be) and ``releases``: by name the day and what was measured then."""

_SERVES = {
    "mm-encoder-attention": ("Qwen3-VL", "Qwen2-VL"),
    "rotary-embedding": ("Qwen3-VL", "Qwen2-VL"),
    "qwen3-vl-vision": ("Qwen3-VL",),
    "vision-seq-lens": ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-Omni", "GLM-4.1V", "Kimi-K2.5"),
}
"""By patch, the encoders that show what it is good for."""
_CARRIED = {"waits": "waits", "kernels": "kernels per layer", "dispatches": "dispatches per layer"}
_COLUMNS = {
    "waits": "waits",
    "stalls": "of them stalls",
    "kernels": "kernels per layer",
    "hidden": "of them hidden",
    "attention_kernels": "attention kernels",
    "attention_hidden": "of them hidden",
    "dispatches": "dispatches per layer",
}
"""By what was counted: the head of its column."""
_WORSE = {
    "waits": "waits",
    "stalls": "stalls",
    "kernels": "kernels per layer",
    "dispatches": "dispatches per layer",
    "attention_kernels": "attention kernels",
    "hidden": "hidden kernels per layer",
}
"""What must not grow, as a reader is told of it where it does."""

_HEAD = (
    f"| encoder | release | {' | '.join(_COLUMNS.values())} | difference |",
    "| --- | --- |" + " --- |" * len(_COLUMNS) + " --- |",
)

_ABOUT = """# Vision encoders: upstream and patched

`tools/bench_vision --write` writes this page: whole vision encoders of the released packages, unmodified, small but
with the head sizes of the real ones, on the emulated NPU, with the classes that vllm-ascend's worker registers, before
and after the patches, in one process each. Every cell reads upstream -> patched.

* waits: how often the host stands still in one forward: copies in both directions, unless they are from or to pinned
  memory and need not block. A stall has work on the device before it; only stalls cost.
* kernels: what runs on the device's cores in one forward, divided by the layers. The hidden ones copy a strided
  argument before the operator's own kernel.
* attention: of one layer's attention without its two linear layers; `-` where a model names these otherwise.
* dispatches: operator calls that reach the device, views and allocations included. They explain; they are not a cost.
* difference: the largest between the two outputs, in float32 and bfloat16; 0 means that every bit is the same. On
  vLLM alone the unpatched release has no NPU attention: it computes sequence by sequence with another kernel.

Counts are not times: `tools/bench_host` has the host's time, and [its page](bench_host.md).
"""


def page(results: Results) -> str:
    releases = results["releases"]
    names = _names(releases)
    rows = [
        _row(name, release, found["encoders"][name])
        for name in names
        for release, found in releases.items()
        if name in found["encoders"]
    ]
    about = (
        f"{results['layers']} layers; two images and a video of two frames. Measured on {' and '.join(_days(results))}."
    )
    left = [name for name in results["wanted"] if name not in releases]
    missing = [f"**Not measured yet: {', '.join(left)}. `tools/bench_vision --write --missing` goes on.**", ""]
    return "\n".join(
        [_ABOUT, about, "", *(missing if left else []), *_HEAD, *rows, "", *_where_worse(releases, names), ""]
    )


def _days(results: Results) -> list[str]:
    return sorted({found["measured"] for found in results["releases"].values()})


def _where_worse(releases: dict[str, Any], names: list[str]) -> list[str]:
    """Each count that the patches make larger."""
    worse = [
        f"* {name}, {release}: {words} {_number(old[key])} -> {_number(new[key])}"
        for name in names
        for release, found in releases.items()
        if name in found["encoders"]
        for old, new in [(found["encoders"][name]["upstream"], found["encoders"][name]["patched"])]
        for key, words in _WORSE.items()
        if new[key] > old[key]
    ]
    if not worse:
        return [f"Nowhere do the patches add {', '.join(list(_WORSE.values())[:-1])} or {list(_WORSE.values())[-1]}."]
    return ["Where patched is worse than upstream:", "", *worse]


def carried(results: Results) -> dict[str, Any]:
    """What the package says of each patch."""
    return {
        patch: {
            "measured": _days(results)[-1],
            "what": f"a forward of {results['layers']} layers on the emulated NPU, all vision patches off -> on",
            "counts": [
                {
                    "of": name,
                    "release": release,
                    **{
                        words: [round(found["encoders"][name][side][key], 1) for side in ("upstream", "patched")]
                        for key, words in _CARRIED.items()
                    },
                }
                for name in names
                for release, found in results["releases"].items()
                if name in found["encoders"]
            ],
        }
        for patch, names in _SERVES.items()
    }


def _names(releases: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for found in releases.values() for name in found["encoders"]))


def _row(name: str, release: str, found: dict[str, Any]) -> str:
    old, new = found["upstream"], found["patched"]
    cells = [name, release]
    for key in _COLUMNS:
        known = not key.startswith("attention_") or old["attention_kernels"]
        cells.append(f"{_number(old[key])} -> {_number(new[key])}" if known else "-")
    cells.append(", ".join(f"{value:.1g}" for value in found["difference"].values()))
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.1f}"


def plot(results: Results) -> str:
    """Kernels per layer of Qwen3-VL's encoder by release, as SVG: a pale bar for upstream, a dark one for ours."""
    bars = [(release, found["encoders"].get("Qwen3-VL")) for release, found in results["releases"].items()]
    bars = [(release, found) for release, found in bars if found is not None]
    largest = max(found["upstream"]["kernels"] for _, found in bars)
    height = 30 * len(bars) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif">',
        '<text font-size="12" x="10" y="20">Qwen3-VL vision encoder: kernels per layer, upstream and patched</text>',
    ]
    for index, (release, found) in enumerate(bars):
        y = 40 + 30 * index
        lines.append(f'<text font-size="12" x="10" y="{y + 15}">{release}</text>')
        for offset, side, colour in ((0, "upstream", "#c8ccd4"), (11, "patched", "#1f5fa8")):
            value = found[side]["kernels"]
            width = 420 * value / largest
            lines.append(f'<rect x="230" y="{y + offset}" width="{width:.1f}" height="10" fill="{colour}"/>')
            lines.append(f'<text x="{236 + width:.1f}" y="{y + offset + 9}" font-size="10">{value:.1f}</text>')
    return "\n".join([*lines, "</svg>", ""])
