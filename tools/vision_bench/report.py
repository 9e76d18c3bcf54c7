"""The page and the plot of what encoders cost, and what of it the package carries for ``ascend-patches explain``."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]
"""``measured`` (the day), ``layers`` and ``releases``: what ``measure`` printed, by release."""

_SERVES = {
    "mm-encoder-attention": ("Qwen3-VL", "Qwen2-VL"),
    "rotary-embedding": ("Qwen3-VL", "Qwen2-VL"),
    "qwen3-vl-vision": ("Qwen3-VL",),
    "vision-seq-lens": ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-Omni", "GLM-4.1V", "Kimi-K2.5"),
}
"""By patch, the encoders that show what it is good for."""
_CARRIED = {"copies": "copies", "kernels": "kernels per layer", "dispatches": "dispatches per layer"}

_HEAD = (
    "| encoder | release | copies | dispatches per layer | attention dispatches | attention kernels | difference |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)

_ABOUT = """# Vision encoders: upstream and patched

`tools/bench_vision` writes this page: whole vision encoders of the released packages, unmodified, on the emulated NPU,
before and after the patches, in one process each. Every cell reads upstream -> patched.

* copies: device-to-host copies of one forward.
* dispatches per layer: all operators of one forward, what happens once per forward included, divided by the layers.
* attention: of one layer's attention without its two linear layers; `-` where a model names these otherwise.
* difference: the largest between the two outputs, in float32 and bfloat16; 0 means that every bit is the same. On
  vLLM alone the unpatched release has no NPU attention: it computes sequence by sequence with another kernel.

Counts are of operators, not of time: `tools/bench_host` has the host's time, and [its page](bench_host.md).
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
    about = f"{results['layers']} layers; two images and a video of two frames. Measured on {results['measured']}."
    return "\n".join([_ABOUT, about, "", *_HEAD, *rows, ""])


def carried(results: Results) -> dict[str, Any]:
    """What the package says of each patch."""
    return {
        patch: {
            "measured": results["measured"],
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
    cells = [name, release, f"{old['copies']} -> {new['copies']}"]
    cells.append(f"{old['dispatches']:.1f} -> {new['dispatches']:.1f}")
    for what in ("attention_dispatches", "attention_kernels"):
        cells.append(f"{old[what]:.1f} -> {new[what]:.1f}" if old[what] else "-")
    cells.append(", ".join(f"{value:.1g}" for value in found["difference"].values()))
    return "| " + " | ".join(cells) + " |"


def plot(results: Results) -> str:
    """Dispatches per layer of Qwen3-VL's encoder by release, as SVG: a pale bar for upstream, a dark one for ours."""
    bars = [(release, found["encoders"].get("Qwen3-VL")) for release, found in results["releases"].items()]
    bars = [(release, found) for release, found in bars if found is not None]
    largest = max(found["upstream"]["dispatches"] for _, found in bars)
    height = 30 * len(bars) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif">',
        '<text font-size="12" x="10" y="20">Qwen3-VL vision encoder: dispatches per layer, upstream and patched</text>',
    ]
    for index, (release, found) in enumerate(bars):
        y = 40 + 30 * index
        lines.append(f'<text font-size="12" x="10" y="{y + 15}">{release}</text>')
        for offset, side, colour in ((0, "upstream", "#c8ccd4"), (11, "patched", "#1f5fa8")):
            value = found[side]["dispatches"]
            width = 420 * value / largest
            lines.append(f'<rect x="230" y="{y + offset}" width="{width:.1f}" height="10" fill="{colour}"/>')
            lines.append(f'<text x="{236 + width:.1f}" y="{y + offset + 9}" font-size="10">{value:.1f}</text>')
    return "\n".join([*lines, "</svg>", ""])
