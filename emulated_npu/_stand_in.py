"""Modules that stand in for others: real specs, the names they were given, and a clear refusal of every other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from ._refusals import NotEmulatedError


class UnknownNameError(AttributeError):
    """A name was asked of a stand-in module that it does not have; it never makes one up."""


class StandIn(ModuleType):
    """A module that says where to add what it lacks."""

    def __init__(self, name: str, description: str, file: str, *, package: bool = True) -> None:
        super().__init__(name)
        self.__file__ = file
        self.__spec__ = ModuleSpec(name, loader=None, origin=file, is_package=package)
        if package:
            self.__path__: list[str] = []
        self._description = description
        self._content: dict[str, Any] = {}
        self._advise: Callable[[str], str] | None = None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        advise = self.__dict__.get("_advise")
        advice = advise(name) if advise else f"Add it to {self.__file__}."
        raise UnknownNameError(f"{self._description} has no {self.__name__}.{name}. {advice}")


class _Reloading(MetaPathFinder, Loader):
    """Lets ``importlib.reload`` give a stand-in its first content again, as it gives a file's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not isinstance(target, StandIn):
            return None
        return ModuleSpec(fullname, self, origin=target.__file__, is_package=hasattr(target, "__path__"))

    def exec_module(self, module: ModuleType) -> None:
        fill(module, vars(module)["_content"])


_RELOADING = _Reloading()


def put_in_place(module: ModuleType) -> None:
    """Make ``module`` importable under its name, and an attribute of its parent."""
    if _RELOADING not in sys.meta_path:
        sys.meta_path.append(_RELOADING)
    sys.modules[module.__name__] = module
    parent, _, child = module.__name__.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def refusing_function(name: str, file: str) -> Callable[..., NoReturn]:
    """A function that can be imported, and says when called that it is not emulated."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise NotEmulatedError(f"{name} was called, which the emulated NPU does not have. Add it to {file}.")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse


def refusing_class(name: str, file: str, **members: object) -> type:
    """A class that can be named in annotations and isinstance checks, and not be made."""
    short = name.rpartition(".")[2]
    return type(
        short, (), {"__init__": refusing_function(name, file), "__module__": name.rpartition(".")[0], **members}
    )


def fill(module: ModuleType, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        setattr(module, name, value)
    if isinstance(module, StandIn):
        module._content = {**module._content, **names}
