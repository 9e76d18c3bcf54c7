"""Lets a CUDA build of torchvision be imported beside a CPU build of torch."""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

import torch

# torchvision registers a shape function for each of these on import, whether or not its extension could be loaded.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_KEPT: list[torch.library.Library] = []


def define_ops_of_an_unloadable_extension() -> None:
    """Define the ops that importing torchvision takes for granted, unless its own extension defines them.

    Package indexes without a CPU build of torchvision give a CUDA one. Its extension cannot be loaded where there is no
    CUDA; then torchvision fails on import with "operator torchvision::nms does not exist". vLLM's image processors use
    none of the ops.
    """
    extension = _extension()
    if extension is None or _is_defined("nms") or _loads(extension):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not _is_defined(name):
            library.define(schema)
    _KEPT.append(library)


def _extension() -> Path | None:
    """torchvision's compiled ops; found without importing torchvision, which is what would fail."""
    spec = PathFinder.find_spec("torchvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("_C*.so")):
            return path
    return None


def _is_defined(name: str) -> bool:
    return bool(torch._C._jit_get_schemas_for_operator(f"torchvision::{name}"))


def _loads(extension: Path) -> bool:
    try:
        torch.ops.load_library(extension)
    except OSError:
        return False
    return True
