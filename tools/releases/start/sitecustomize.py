"""Runs first in every process of a command run on a pair: the pair's shims, then whatever sitecustomize comes next."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load(name: str, path: str, *, package: bool = False) -> ModuleType:
    folders = [os.path.dirname(path)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _start_shims() -> None:
    names = [name for name in os.environ.get("ASCEND_PATCHES_RELEASE_SHIMS", "").split(",") if name]
    if names:
        # Under a name of its own, so that no folder of these tools has to be on the command's path.
        shims = os.path.join(os.path.dirname(_HERE), "shims", "__init__.py")
        package = _load("release_shims", shims, package=True)
        for name in names:
            importlib.import_module(f"{package.__name__}.{name}").start()


def _run_next_sitecustomize() -> None:
    for folder in sys.path:
        path = os.path.join(folder or os.curdir, "sitecustomize.py")
        if os.path.abspath(folder) != _HERE and os.path.isfile(path):
            _load("sitecustomize", path)
            return


_start_shims()
_run_next_sitecustomize()
