"""Run on one release: what every patch has to keep, whatever it does. Prints one JSON object.

contract.py deployed   the toolkit was started with the interpreter, as in a deployment; then it is undone
contract.py called     everything is imported and used before the toolkit is activated by a call; then it is undone
"""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any

import torch

from ascend_patches import distributions, registry
from ascend_patches.environment import here
from ascend_patches.patches import PATCHES

Snapshot = dict[tuple[str, str], Any]


def main() -> None:
    torch.set_num_threads(1)
    print(json.dumps({"deployed": deployed, "called": called}[sys.argv[1]]()))


def deployed() -> dict[str, Any]:
    import_targets()
    import ascend_patches

    status = ascend_patches.status()
    patched = exercise()
    # Not earlier: the first exercise imports and sets up what it needs.
    with_patches = snapshot()
    ascend_patches.revert_patches()
    changed = differences(with_patches, snapshot())
    return {**outcome(status, changed), "different": different(patched, exercise())}


def called() -> dict[str, Any]:
    import_targets()
    unpatched = exercise()
    before = snapshot()
    import ascend_patches

    status = ascend_patches.apply_patches()
    changed = differences(before, snapshot())
    patched = exercise()
    ascend_patches.revert_patches()
    return {
        **outcome(status, changed),
        "different": different(unpatched, patched),
        "left_behind": differences(before, snapshot()),
        "different_after_undo": different(unpatched, exercise()),
    }


def outcome(status: dict[str, Any], changed: list[str]) -> dict[str, Any]:
    import ascend_patches

    after = [patch["state"] for patch in ascend_patches.status()["patches"]]
    return {"status": status, "changed": changed, "after_undo": after, "mended": mended()}


def import_targets() -> None:
    """Import what the patches look at, as far as this release has it and could run it."""
    wanted = dict.fromkeys(
        module
        for patch in PATCHES
        for variant in patch.variants
        if variant.gate.could_hold(here)
        for module in variant.modules
    )
    for module in filter(distributions.has_module, wanted):
        importlib.import_module(module)


def exercise() -> dict[str, torch.Tensor]:
    """What the exercises of all patches compute; each makes its own objects, so that new ones are used each time."""
    outputs: dict[str, torch.Tensor] = {}
    for patch in PATCHES:
        name = patch.name.replace("-", "_")
        module = importlib.import_module(f"exercises.{name}")
        for case, tensor in module.run().items():
            outputs[f"{patch.name}: {case}"] = tensor.detach().cpu()
    return outputs


def mended() -> list[str]:
    """The cases in which upstream is wrong, as the exercises say and other tests prove, and the patch is right."""
    return sorted(
        f"{patch.name}: {case}"
        for patch in PATCHES
        for case in getattr(importlib.import_module(f"exercises.{patch.name.replace('-', '_')}"), "MENDED", ())
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def different(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The cases that are not bitwise the same."""
    return sorted(
        case
        for case in one.keys() | other.keys()
        if case not in one or case not in other or bits(one[case]) != bits(other[case])
    )


def snapshot() -> Snapshot:
    """Every attribute of every upstream module and of the classes written in it."""
    found: Snapshot = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in registry.Registry(PATCHES).roots() and isinstance(module, ModuleType):
            for key, value in list(module.__dict__.items()):
                found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    add_class(found, name, key, value)
    return found


def add_class(found: Snapshot, module: str, path: str, cls: type) -> None:
    for key, value in list(cls.__dict__.items()):
        found[module, f"{path}.{key}"] = value
        if isinstance(value, type) and value.__qualname__.startswith(f"{cls.__qualname__}."):
            add_class(found, module, f"{path}.{key}", value)


# What Python and torch themselves write into classes and modules while they are used.
_OF_PYTHON = ("__abstractmethods__", "_abc_impl", "__warningregistry__", "__annotations_cache__")


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    return sorted(
        f"{module}:{path}"
        for module, path in before.keys() | after.keys()
        if path.rpartition(".")[2] not in _OF_PYTHON
        and before.get((module, path), before) is not after.get((module, path), after)
    )


if __name__ == "__main__":
    main()
