"""Run on one release: what became of mm-encoder-attention once the module named is imported."""

from __future__ import annotations

import importlib
import json
import sys

import ascend_patches

ascend_patches.apply_patches()
module = importlib.import_module(sys.argv[1])
function = module.AscendMMEncoderAttention.__dict__["forward_oot"]
(patch,) = [one for one in ascend_patches.status()["patches"] if one["name"] == "mm-encoder-attention"]
print(json.dumps({**patch, "replaced": "ascend_patches" in function.__code__.co_filename}))
