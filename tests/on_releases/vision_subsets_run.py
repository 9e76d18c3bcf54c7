"""Runs every encoder of the release under every subset of the vision patches, and prints what differs, as JSON.

One process: each subset is applied and the one before it undone, and each encoder is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, combinations

import torch

import ascend_patches
from ascend_patches.checks.encoders import ENCODERS, GRIDS

VISION = ("mm-encoder-attention", "rotary-embedding", "qwen3-vl-vision", "vision-seq-lens", "vision-blocks")
LAYERS = 4
TYPE = torch.bfloat16


def main() -> None:
    torch.set_num_threads(1)
    names = [name for name in ENCODERS if ENCODERS[name].there()]
    found = {}
    with torch.inference_mode():
        upstream = {name: output(name) for name in names}
        for subset in subsets():
            applied = only(subset)
            differing = [name for name in names if not torch.equal(output(name), upstream[name])]
            found[" ".join(subset)] = {"applied": applied, "differing": differing}
    print(json.dumps({"encoders": names, "subsets": found}))


def subsets() -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(VISION, count) for count in range(len(VISION) + 1))


def only(subset: tuple[str, ...]) -> list[str]:
    """Which of the vision patches are on, after these were asked for and no others."""
    ascend_patches.apply_patches()
    others = [name for name in VISION if name not in subset]
    status = ascend_patches.revert_patches(*others) if others else ascend_patches.status()
    return [each["name"] for each in status["patches"] if each["name"] in VISION and each["state"] == "applied"]


def output(name: str) -> torch.Tensor:
    encoder = ENCODERS[name]
    return encoder.run(encoder.made(LAYERS, TYPE), GRIDS, TYPE).cpu()


if __name__ == "__main__":
    main()
