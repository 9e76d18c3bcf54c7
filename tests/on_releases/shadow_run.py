"""Runs every encoder of a release with all its patches shadowed, and prints what that showed."""

from __future__ import annotations

import importlib
import json
from typing import Any

import torch

from ascend_patches.checks.encoders import EVERY_ENCODER, GRIDS
from ascend_patches.checks.more_encoders import IN_FLOAT32
from ascend_patches.declaring.gates import always
from ascend_patches.patches.more_encoders.checks import WHERE
from ascend_patches.upstream.environment import Here

LAYERS = 3


def main() -> None:
    answers: dict[str, Any] = {}
    for name, encoder in EVERY_ENCODER.items():
        if not encoder.there() or not WHERE.get(name, always).judge(Here()).holds:
            continue
        dtype = torch.float32 if name in IN_FLOAT32 else torch.bfloat16
        # Made before the patches are in, so that its layers have bound upstream's methods where they bind any.
        model = encoder.made(LAYERS, dtype)
        with torch.inference_mode():
            answers[name] = encoder.run(model, GRIDS, dtype).cpu().double().sum().item()
    patches = importlib.import_module("ascend_patches").status()["patches"]

    print(json.dumps({"answers": answers, "patches": {patch["name"]: patch for patch in patches}}))


if __name__ == "__main__":
    main()
