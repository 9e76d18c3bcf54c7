"""The page and the picture of what the host does in a forward, made of what tools/bench_host measured."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

SERVING = ("mm-encoder-attention", "rotary-embedding", "qwen3-vl-vision", "vision-seq-lens")
"""The patches that vision encoders notice."""
IMAGES = ("1", "4", "16", "64", "video")
_WORSE = 1.02

_ABOUT = """# What the host does in a forward of a vision encoder

`tools/bench_host --write` writes this page: {layers} layers of the released packages' encoders, small but with the head
sizes of the real ones, with the classes that the release's worker registers, on a device that does nothing
(`emulated_npu.null_device`). The time is that of the process's thread. Upstream and patched are two processes that take
turns until the ratio is known well enough; a ratio is patched over upstream, the median of the pairs of turns.
Measured on {measured}.

What is not in it: what a launch costs on a real NPU (`--launch-us`, `--wait-us` add it), and the time that the host
stands still in a wait. Fewer kernels and fewer waits count more there than here.
"""

_LEFT = """## What is left, and why

`tools/bench_host --release 0.30.0rc2 --encoder Qwen2.5-VL --images 1 --profile` says whose code the time of the
patched side is spent in; a call into C counts for the Python function that made it.

* **One image.** A fifth is `torch/_ops.py`: five kernels of a layer are operators of torch_npu, whose arguments torch
  looks up one by one, and attention has forty that can be given by keyword alone. A sixth is the four linear layers,
  which are looked at in every call, because hooks, weights and methods may change between two, and then multiply. An
  eighth is attention beside its operators: views, rotation, copies into padded memory and out of it. What blocks take
  beyond their kernels is this looking, about one Python function for each submodule.
* **Many images.** Lengths are handed over in torch's own list (`torch._C.ScriptList`), because an operator converts a
  list of Python's element by element, twice in every layer. What grows with their number then is outside of the
  blocks: Kimi-K2.5's positions, rotation and merging are made image by image by the release itself, and Qwen2.5-VL
  asks for the windows of each image.

What would take less: fewer operators (a norm that is one with the product behind it), positions of each size made
once for Kimi-K2.5, as they are for Qwen3-VL, or a captured graph of the whole encoder, which leaves the host one
launch ([encoder graphs](encoder-graphs.md)).
"""


def write(start: Path, results: dict[str, Any]) -> None:
    """The page, the numbers and the picture, whose names start alike."""
    text = f"{page(results)}\n![host time, patched over upstream](bench_host.svg)\n"
    start.with_suffix(".md").write_text(text, encoding="utf-8")
    start.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    start.with_suffix(".svg").write_text(picture(results), encoding="utf-8")


def read(start: Path) -> dict[str, Any]:
    """The numbers that the page was made of, or none."""
    numbers = start.with_suffix(".json")
    found: dict[str, Any] = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    return found


def missing(results: dict[str, Any]) -> list[str]:
    """What was to be measured and is not yet, in words."""
    return [
        f"{encoder} on {release}"
        for release, encoders in results.get("wanted", {}).items()
        for encoder in encoders
        if encoder not in results["releases"].get(release, {})
    ]


def page(results: dict[str, Any]) -> str:
    lines = [_ABOUT.format(**results), *_reservations(results), _spread(results), ""]
    lines += [
        "## Host time, patched / upstream",
        "",
        "Pictures of sizes that come again:",
        "",
        *_ratios(results, "again"),
    ]
    if any("new" in case for _, _, case in _cases(results)):
        lines += ["", "Pictures of sizes that no forward before had:", "", *_ratios(results, "new")]
    lines += ["", *_worse(results), "", "## What a forward does", "", "One picture; upstream -> patched.", ""]
    lines += [
        "| encoder | release | host us | Python calls | kernels | of them hidden | waits | of them stalls |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_counts(*case) for case in _entries(results) if "1" in case[2]["images"]]
    lines += [
        "",
        "* kernels: what is put on the device; the hidden ones copy a strided argument.",
        "* waits: copies in both directions that the host stands still for; a stall has work on the device before it.",
    ]
    blocks = [_block(*each) for each in _entries(results) if "block" in each[2]]
    if blocks:
        lines += ["", "## A block beside its kernels alone", ""]
        lines += [
            "Microseconds that one more layer takes, and what its kernels take when they are called one after another.",
            "",
        ]
        lines += ["| encoder | release | upstream | patched |", "| --- | --- | --- | --- |", *blocks]
    return "\n".join([*lines, "", _LEFT])


def _reservations(results: dict[str, Any]) -> list[str]:
    """What a reader has to know of this run before using a number of it."""
    if results.get("reservations"):
        return [f"**{results['reservations']}**", ""]
    left = missing(results)
    return [f"**Not measured yet: {', '.join(left)}. `tools/bench_host --write` goes on with it.**", ""] if left else []


def _spread(results: dict[str, Any]) -> str:
    """How well the ratios are known, so that a reader knows what a difference means."""
    found = [case[kind] for _, _, case in _cases(results) for kind in ("again", "new") if kind in case]
    if not found:
        return "Nothing is measured yet."
    if results.get("reservations"):
        return "Read the ratios, not the microseconds: the machine is shared."
    halves = sorted((each["ratio_high"] - each["ratio_low"]) / 2 / each["ratio"] for each in found)
    return (
        "Read the ratios, not the microseconds: the machine is shared. The 95 % confidence interval of a ratio is "
        f"{100 * statistics.median(halves):.1f} % of it to either side (the median of all {len(halves)} ratios; "
        f"{100 * halves[int(0.9 * len(halves))]:.1f} % or less for nine of ten)."
    )


def _entries(results: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    names = dict.fromkeys(name for found in results["releases"].values() for name in found)
    return [
        (name, release, found[name])
        for name in names
        for release, found in results["releases"].items()
        if name in found
    ]


def _cases(results: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (f"{name}, {release}", images, case)
        for name, release, found in _entries(results)
        for images, case in found["images"].items()
    ]


def _ratios(results: dict[str, Any], kind: str) -> list[str]:
    head = "| encoder | release | " + " | ".join(map(_titled, IMAGES)) + " |"
    lines = [head, "| --- | --- |" + " --- |" * len(IMAGES)]
    for name, release, found in _entries(results):
        cells = [found["images"].get(each, {}).get(kind) for each in IMAGES]
        words = [f"{cell['ratio']:.2f}" if cell else "-" for cell in cells]
        lines.append(f"| {name} | {release} | " + " | ".join(words) + " |")
    return lines


def _titled(images: str) -> str:
    return images if images == "video" else f"{images} image" + "s" * (images != "1")


def _worse(results: dict[str, Any]) -> list[str]:
    """Where the patches take more of the host's time than upstream does."""
    found = [
        f"* {where}, {_titled(images)} ({kind}): {case[kind]['ratio']:.2f}"
        for where, images, case in _cases(results)
        for kind in ("again", "new")
        if kind in case and case[kind]["ratio"] > _WORSE
    ]
    if not found:
        return [f"Nowhere is patched more than {round(100 * (_WORSE - 1))} % slower than upstream."]
    return ["Where patched is slower than upstream:", "", *found]


def _counts(name: str, release: str, found: dict[str, Any]) -> str:
    case = found["images"]["1"]
    old, new = case["counts"]["upstream"], case["counts"]["patched"]
    time = f"{case['again']['upstream']['median']:.0f} -> {case['again']['patched']['median']:.0f}"
    cells = [f"{old[what]} -> {new[what]}" for what in ("python_calls", "kernels", "hidden", "waits", "stalls")]
    return f"| {name} | {release} | {time} | " + " | ".join(cells) + " |"


def _block(name: str, release: str, found: dict[str, Any]) -> str:
    cells = [
        f"{each['block']:.0f} / {each['floor']:.0f} = {each['block'] / each['floor']:.1f}"
        for each in (found["block"]["upstream"], found["block"]["patched"])
    ]
    return f"| {name} | {release} | " + " | ".join(cells) + " |"


def picture(results: dict[str, Any]) -> str:
    """Patched over upstream with one picture, a bar for each release of each encoder; the line is upstream."""
    bars = [
        (name, release, found["images"]["1"]["again"]["ratio"])
        for name, release, found in _entries(results)
        if "1" in found["images"]
    ]
    height = 20 * len(bars) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif">',
        '<text font-size="12" x="10" y="20">Host time of a forward with one image, patched / upstream</text>',
        f'<line x1="630" y1="28" x2="630" y2="{height - 10}" stroke="#888" stroke-dasharray="3 3"/>',
    ]
    for index, (name, release, ratio) in enumerate(bars):
        y, colour = 35 + 20 * index, "#1f5fa8" if ratio <= 1 else "#b3541e"
        lines.append(f'<text font-size="11" x="10" y="{y + 11}">{name}, {release}</text>')
        lines.append(f'<rect x="230" y="{y}" width="{400 * ratio:.1f}" height="14" fill="{colour}"/>')
        lines.append(f'<text x="{236 + 400 * ratio:.1f}" y="{y + 11}" font-size="10">{ratio:.2f}</text>')
    return "\n".join([*lines, "</svg>", ""])
