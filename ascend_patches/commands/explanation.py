"""explain: one patch in one screen, what happens here first and the evidence after it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ascend_patches import catalogue
from ascend_patches.commands import console, measured
from ascend_patches.commands.names import patch_named
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.settings import reader
from ascend_patches.upstream.environment import here

_VERDICT = {"apply": "would be applied", "wait": "would wait", "skip": "would be skipped", "fail": "would fail"}
_LONG = 600
"""Characters of a reason that leave room for the rest on one screen: where much moved, it names every function."""
_FITS = {True: "fits here", False: "does not fit here", None: "cannot be known here"}


def explain(arguments: argparse.Namespace) -> int:
    known = catalogue.known()
    patch = patch_named(arguments.patch, known)
    chosen = reader.load(known.patches, arguments.config)
    choice = chosen.choice(patch, here)
    foreseen = foresee(patch, choice, here, Lock.read())
    data = {
        "name": patch.name,
        "summary": patch.summary,
        "why": patch.why,
        "upstream": list(patch.upstream),
        "origin": known.origins[patch.name],
        "retire": patch.retire,
        "default": patch.default,
        "enabled": choice.enabled and chosen.mode != "off",
        "switched": choice.reason if chosen.mode != "off" else "everything is switched off",
        "options": {
            name: {
                "value": choice.options[name],
                "default": option.default,
                "expected": option.expected(),
                "meaning": option.meaning,
            }
            for name, option in patch.options.items()
        },
        "variants": [
            {
                "name": variant.name,
                "gate": str(variant.gate),
                "here": {"holds": verdict.holds, "why": verdict.why},
                "targets": list(variant.targets),
                "parts": [
                    {"name": part.name, "targets": [rewrite.target for rewrite in part.rewrites]}
                    for part in variant.parts
                ],
            }
            for variant in patch.variants
            for verdict in [variant.gate.judge(here)]
        ],
        "foreseen": {
            "verdict": foreseen.verdict,
            "variant": foreseen.variant.name if foreseen.variant is not None else None,
            "reason": foreseen.reason,
        },
        "measured": measured.of_patch(patch.name),
    }
    print(json.dumps(data, indent=2) if arguments.json else "\n".join(_lines(data, everything=arguments.all)))
    return 0


def _lines(data: dict[str, Any], everything: bool) -> Iterator[str]:
    outcome = _VERDICT[data["foreseen"]["verdict"]]
    yield f"{data['name']}: {data['summary']}"
    yield ""
    now = outcome if data["enabled"] else f"is off; if it were on, it {outcome}"
    reason = data["foreseen"]["reason"]
    if len(reason) > _LONG and not everything:
        reason = f"{reason[:_LONG].rpartition(' ')[0]} ... (--all has the rest)"
    yield console.paragraph("here", f"{now}: {reason}")
    yield console.paragraph("now", f"{data['switched']} (default: {_on(data['default'])})")
    for heading in ("why", "retire"):
        if data[heading]:
            yield console.paragraph({"retire": "retire it"}.get(heading, heading), data[heading])
    yield from _listed("upstream", data["upstream"])
    yield console.paragraph("from", data["origin"])
    for name, option in data["options"].items():
        value = f"{option['value']!r} (default {option['default']!r}; {option['expected']})"
        yield console.paragraph(f"option {name}", f"{value}: {option['meaning']}")
    yield from _variants(data, everything)
    if data["measured"] is not None:
        first, *rest = measured.in_words(data["measured"])
        yield console.paragraph("measured", first)
        for line in rest if everything else rest[-1:]:
            yield console.paragraph("", line)
    if not everything:
        yield console.paragraph(
            "more", f"ascend-patches explain {data['name']} --all; ascend-patches diff {data['name']}"
        )


def _variants(data: dict[str, Any], everything: bool) -> Iterator[str]:
    """The variant that is chosen here, or all; of the others only the names."""
    variants = data["variants"]
    shown = [one for one in variants if everything or len(variants) == 1 or one["name"] == data["foreseen"]["variant"]]
    for variant in shown:
        yield console.paragraph(f"variant {variant['name']}", f"for {variant['gate']}")
        yield console.paragraph("", f"{_FITS[variant['here']['holds']]}: {variant['here']['why']}")
        rewrites = [
            f"part {part['name']} rewrites {target}"
            if len(variant["parts"]) > 1 and target == part["targets"][0]
            else f"rewrites {target}"
            for part in variant["parts"]
            for target in part["targets"]
        ]
        if everything or len(rewrites) <= 3:
            yield from (console.paragraph("", rewrite) for rewrite in rewrites)
        else:
            names = ", ".join(part["name"] for part in variant["parts"])
            yield console.paragraph("", f"rewrites {len(rewrites)} functions, in parts for {names}")
    others = [one["name"] for one in variants if one not in shown]
    if others:
        yield console.paragraph("other variants" if shown else "variants", ", ".join(others))


def _listed(heading: str, entries: list[str]) -> Iterator[str]:
    for entry in entries:
        yield console.paragraph(heading, entry)
        heading = ""


def _on(enabled: object) -> str:
    return "on" if enabled else "off"
