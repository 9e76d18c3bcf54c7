"""Run on one vllm-ascend: prints a decode step before and after the patches, side by side."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from ascend_patches import apply_patches
from ascend_patches.declaring.gates import version_in
from ascend_patches.patches.mla_kv_overlap import mla_impl
from ascend_patches.patches.mla_multistream import mla_layer
from tools.mla_steps import recorded

NAMES = ("mla-multistream", "mla-kv-overlap")


def main() -> None:
    record = recorder()
    before = record()
    patches = {patch["name"]: patch for patch in apply_patches()["patches"]}
    for name in NAMES:
        print(f"{name}: {patches[name]['state']}: {patches[name]['reason']}")
    print()
    for left, right in zip_longest(["BEFORE", *before], ["AFTER", *record()], fillvalue=""):
        print(f"{left:<90} {right}")


def recorder() -> Any:
    """What makes attention anew, runs a step, and gives its lines."""
    if version_in("vllm-ascend", "==0.9.1rc1"):
        return lambda: [str(line) for line in recorded.of_layer(mla_layer.layer(), mla_layer.metadata())]
    return lambda: [str(line) for line in recorded.of_impl(mla_impl.make(), mla_impl.Step())]


if __name__ == "__main__":
    main()
