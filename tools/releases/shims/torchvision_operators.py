"""Defines two operators that importing torchvision takes for granted.

torchvision registers shapes for operators of its compiled part as it is imported. The package index has that part for
CUDA only, so on this machine the operators do not exist and the import fails. No release calls them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ._after_import import after_import

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_KEPT: list[Any] = []


def start() -> None:
    """Define the operators as soon as torch is there."""
    after_import("torch", _define)


def _define(torch: ModuleType) -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    # An operator lives as long as its library.
    _KEPT.append(library)
