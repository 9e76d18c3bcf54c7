"""Names that Python itself and torch's layers give to everything."""

from __future__ import annotations

import importlib
import os
import re
from functools import lru_cache

from ascend_patches.upstream import distributions

_OF_LAYERS = """
training parameters named_parameters buffers named_buffers modules named_modules children
named_children apply register_buffer register_parameter register_module add_module state_dict
load_state_dict to cpu cuda half float double bfloat16 type train eval requires_grad_ zero_grad
forward extra_repr get_submodule get_parameter get_buffer register_forward_hook
register_forward_pre_hook _parameters _buffers _modules
"""


def is_of_torch(name: str) -> bool:
    """Whether the torch that is installed here, if there is one, declares a function or a method of that name."""
    return name in _declared_by_torch()


@lru_cache(maxsize=1)
def _declared_by_torch() -> frozenset[str]:
    location = distributions.locate("torch")
    names: set[str] = set()
    for file in ("__init__.pyi", "_VariableFunctions.pyi"):
        path = os.path.join(location or "", "_C", file)
        if location is not None and os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                names |= set(re.findall(r"^ *def (\w+)\(", stream.read(), re.MULTILINE))
    return frozenset(names)


@lru_cache(maxsize=1)
def standard_names() -> frozenset[str]:
    """The attributes of Python's own types and of the modules that code like this uses most."""
    import collections
    import pathlib
    import socket
    import threading

    kinds: list[object] = [
        str,
        bytes,
        int,
        float,
        list,
        dict,
        set,
        frozenset,
        tuple,
        slice,
        BaseException,
        type,
        object,
    ]
    kinds += [collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter, pathlib.Path]
    kinds += [
        socket.socket,
        threading.Thread,
        threading.Event,
        threading.Condition,
        lambda: None,
        range,
        property,
        memoryview,
    ]
    return frozenset(name for kind in kinds for name in dir(kind))


@lru_cache(maxsize=1)
def layer_names() -> frozenset[str]:
    """What ``torch.nn.Module`` gives to every layer."""
    return frozenset(_OF_LAYERS.split())


@lru_cache(maxsize=256)
def standard_module(name: str) -> object | None:
    """A module or an attribute of the standard library."""
    first, *rest = name.split(".")
    try:
        found: object = importlib.import_module(first)
    except ImportError:
        return None
    for index, part in enumerate(rest):
        if hasattr(found, part):
            found = getattr(found, part)
            continue
        try:
            found = importlib.import_module(".".join([first, *rest[: index + 1]]))
        except ImportError:
            return None
    return found
