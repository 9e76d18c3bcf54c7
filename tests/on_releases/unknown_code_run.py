"""Run on one release: what became of qwen3-vl-vision once its model is imported."""

from __future__ import annotations

import json

import ascend_patches

ascend_patches.apply_patches()
from vllm.model_executor.models import qwen3_vl  # noqa: E402

function = qwen3_vl.Qwen3_VisionTransformer.__dict__["forward"]
(patch,) = [one for one in ascend_patches.status()["patches"] if one["name"] == "qwen3-vl-vision"]
print(json.dumps({**patch, "replaced": "ascend_patches" in function.__code__.co_filename}))
