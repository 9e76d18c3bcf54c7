"""Runs every encoder of the release, patched, and prints as JSON what is indexed by an unfinished copy.

A copy that does not block and comes from memory of the host that is not pinned may still be writing when the next
kernel starts, on a 310P in RC mode. Each encoder runs twice, because a first forward makes more than the others.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ascend_patches
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, GRIDS

LAYERS = 2
TYPE = torch.bfloat16
COPYING = ("to", "_to_copy", "copy_")
INDEXING = ("index", "gather", "embedding", "scatter", "take")


class Watching(TorchDispatchMode):  # type: ignore[misc]
    """Follows memory that such copies write, and notes operators that are given it as indices."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0
        self.indexed: list[str] = []
        self._unfinished: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.startswith(INDEXING):
            indices = [each for each in _tensors(args[1:]) if id_of(each) in self._unfinished]
            self.indexed += [name for each in indices if not each.is_floating_point()]
        result = func(*args, **kwargs)
        if name in COPYING:
            given = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | kwargs
            if given.get("non_blocking"):
                self._note(given["src"] if name == "copy_" else given["self"], result)
        return result

    def _note(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if source.device.type == "cpu" and target.device.type != "cpu" and not source.is_pinned():
            self.copies += 1
            # Kept, so that its memory is no other's.
            self._unfinished[id_of(target)] = target


def id_of(tensor: torch.Tensor) -> int:
    found: int = tensor.untyped_storage()._cdata
    return found


def _tensors(arguments: Any) -> list[torch.Tensor]:
    flat = [part for each in arguments for part in (each if isinstance(each, (list, tuple)) else [each])]
    return [each for each in flat if isinstance(each, torch.Tensor)]


def main() -> None:
    torch.set_num_threads(1)
    world.start()
    names = [name for name in ENCODERS if ENCODERS[name].there()]
    found: dict[str, Any] = {}
    with torch.inference_mode():
        upstream = {name: watched(name) for name in names}
        ascend_patches.apply_patches()
        found = {name: {"upstream": upstream[name], "patched": watched(name)} for name in names}
    print(json.dumps(found))


def watched(name: str) -> dict[str, Any]:
    encoder = ENCODERS[name]
    model, pixels = encoder.made(LAYERS, TYPE), encoder.pixels(GRIDS, TYPE)
    with Watching() as watching:
        for _ in range(2):
            encoder.forward(model, pixels, GRIDS)
    return {"copies": watching.copies, "indexed": watching.indexed}


if __name__ == "__main__":
    main()
