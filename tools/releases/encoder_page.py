"""docs/encoders.md: every encoder of every release, which patch covers it, and what its forward copies back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ascend_patches.deciding.encoder_coverage import Coverage, coverage
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.gates import Gate, always, version_in
from ascend_patches.patches import PATCHES
from ascend_patches.settings.reader import Settings
from ascend_patches.upstream.encoder_inventory import PACKAGES, Name, inventory

from .compatibility import environment, sources
from .pairs import PAIRS, Pair, find
from .store import Store


class Left(NamedTuple):
    """What an encoder still copies back on some releases, and why."""

    title: str
    why: str
    where: Gate = always


LEFT = (
    Left("Ovis2.5", "its processor leaves the grids on the device, where they are read once"),
    Left("Isaac", "its model moves the grids to the device before its encoder, where they are read once"),
    Left("Ultravox", "its processor leaves the lengths of recordings on the device, where all are read at once"),
    Left("Fun-Audio-Chat", "its model computes the lengths of recordings on the device, where all are read at once"),
    Left(
        "Qwen3-Omni's audio",
        "before vLLM 0.15 it is the encoder of transformers, which attends without vLLM",
        version_in("vllm", "<0.15"),
    ),
    Left("Qwen3-Omni's audio", "its model moves the lengths of recordings to the device, where all are read at once"),
    Left("DeepSeek-V4", "is given boundaries on the device alone; only encoder graphs take this way"),
    Left(
        "RADIO",
        "before vLLM 0.19 no function of its own has the lengths, which are read once",
        version_in("vllm", "<0.19"),
    ),
    Left("Kimi-VL", "vLLM 0.13 has another attention for it, which reads in every layer", version_in("vllm", "<0.14")),
)


def left(title: str, release: str) -> str:
    """Why an encoder still copies something back on a release."""
    where = environment(find(release))
    return next((each.why for each in LEFT if each.title == title and each.where.judge(where).holds), "")


_HEAD = """\
# Encoders

Every class of vLLM and vllm-ascend that tells an encoder's attention of sequences, and the patch that is around all of
its layers. `tools/encoders` finds the classes in the released sources and writes this page; a test asks the same of
every release, so that an encoder that nothing covers has to be named below with its reason.
[Add an encoder](adding-an-encoder.md) says how one is covered.
"""


def covered(pair: Pair, store: Store, lock: Lock | None = None) -> list[Coverage]:
    """What becomes of every encoder of a release with the patches that are on by default."""
    code, where, lock = sources(pair, store), environment(pair), lock or Lock.read()
    decisions = (
        (patch.name, foresee(patch, Settings().choice(patch, where), where, lock, code))
        for patch in PATCHES
        if patch.default
    )
    return coverage(inventory(code), decisions, code)


def short(name: Name) -> str:
    """A class without the packages that all models are in."""
    module = next((name.module.removeprefix(f"{each}.") for each in PACKAGES if name.module.startswith(each)), "")
    return f"{'vllm-ascend ' if name.module.startswith('vllm_ascend') else ''}{module}:{name.name}"


def without_reason(found: Iterable[Coverage]) -> list[str]:
    return [short(each.encoder.stack) for each in found if each.open and not each.reason]


def document(found: dict[str, list[Coverage]], measured: dict[str, Any]) -> str:
    """The page, of what was found on each release by its name."""
    lines = [_HEAD, *_measured(measured), "## By release", ""]
    lines += ["| encoder | in | vLLM alone | with vllm-ascend |", "| --- | --- | --- | --- |"]
    stacks = sorted({each.encoder.stack for one in found.values() for each in one})
    for stack in stacks:
        of_stack = {name: each for name, one in found.items() for each in one if each.encoder.stack == stack}
        models = sorted({model for each in of_stack.values() for model in each.encoder.models})
        shown = ", ".join(models[:4]) + (f" and {len(models) - 4} others" if len(models) > 4 else "")
        cells = (_ranges(found, of_stack, family) for family in ("vllm==", "vllm-ascend=="))
        lines.append(f"| `{short(stack)}` | {shown} | {' | '.join(cells)} |")
    opened = {short(each.encoder.stack): each.reason for one in found.values() for each in one if each.open}
    lines += ["", "## Not covered, and why", ""]
    lines += [f"* `{name}`: {reason or 'no reason is known'}." for name, reason in sorted(opened.items())]
    untold = (
        "Encoders whose attention is told of no sequences (CLIP, SigLIP, InternViT, Molmo, Whisper of one audio and"
    )
    lines += ["", untold, "others) have nothing to read, and are not on this page.", ""]
    return "\n".join(lines)


def _ranges(found: dict[str, list[Coverage]], of_stack: dict[str, Coverage], family: str) -> str:
    names = [name for name in found if name.startswith(family)]
    parts: list[tuple[str, list[str]]] = []
    for name in names:
        each = of_stack.get(name)
        if each is None:
            continue
        state = " and ".join(dict.fromkeys(f"`{patch}`" for patch, _ in each.parts)) or "not covered"
        version = name.partition("==")[2]
        if parts and parts[-1][0] == state:
            parts[-1][1].append(version)
        else:
            parts.append((state, [version]))
    return "<br>".join(f"{state} {versions[0]} to {versions[-1]}" for state, versions in parts) or "-"


def _measured(measured: dict[str, Any]) -> Iterator[str]:
    releases = measured["releases"]
    titles = list(dict.fromkeys(title for one in releases.values() for title in one))
    yield "## Copies of a forward"
    yield ""
    yield f"From the device to the host, of {measured['layers']} layers on two images and a video, upstream -> patched,"
    yield "on the emulated NPU, with every patch that is on by default; `tools/encoders --measure` counts them. Where a"
    yield "count stays above 0, the reason is below the table."
    yield ""
    yield "| encoder | " + " | ".join(releases) + " |"
    yield "| --- |" + " --- |" * len(releases)
    for title in titles:
        yield f"| {title} | " + " | ".join(_cell(releases[name].get(title)) for name in releases) + " |"
    yield ""
    for each in LEFT:
        yield f"* {each.title}: {each.why}."
    yield ""
    yield "With vllm-ascend every bit of every output is that of the unpatched release. vLLM alone has no op of an NPU"
    yield "whose bits could be kept: both sides are held against float64 (`ascend-patches verify`)."
    yield ""


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['upstream']} -> {found['patched']}"


def read(file: Path) -> dict[str, Any]:
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def of_releases(store: Store, names: Iterable[str] = ()) -> dict[str, list[Coverage]]:
    """What was found on some releases, or on all that have an encoder attention."""
    lock, wanted = Lock.read(), set(names)
    return {pair.name: covered(pair, store, lock) for pair in PAIRS if not wanted or pair.name in wanted}
