"""Random numbers of the npu device: a generator of its own, so that it does not disturb the host's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import torch

_HostGenerator: Any = torch._C.Generator


class _AnyGenerator(type(_HostGenerator)):  # type: ignore[misc]
    """Lets the host's own generators pass as instances of the class that replaced ``torch.Generator``."""

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is Generator:
            return isinstance(instance, _HostGenerator)
        return bool(super().__instancecheck__(instance))


class Generator(_HostGenerator, metaclass=_AnyGenerator):  # type: ignore[misc]
    """``torch.Generator``, which also knows the device npu."""

    def __new__(cls, device: Any = "cpu") -> Any:
        if torch.device(device).type == "npu":
            return _new_npu_generator()
        return _HostGenerator(device)


class NpuGenerator(Generator):
    """A generator of the npu device; it draws the numbers that the host's would draw from the same seed."""

    @property
    def device(self) -> torch.device:
        return torch.device("npu", 0)


class _State:
    """The default generator of the device; ``reset()`` seeds it as a fresh process does."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # torch hands a kernel a new object for the generator; what both have in common is the address inside.
        self.by_address: WeakValueDictionary[int, NpuGenerator] = WeakValueDictionary()
        self.default = _new_npu_generator(self)


def _new_npu_generator(owner: _State | None = None) -> NpuGenerator:
    generator: NpuGenerator = _HostGenerator.__new__(NpuGenerator, "cpu")
    (owner or state).by_address[generator._cdata] = generator
    return generator


state = _State()


@contextmanager
def drawing_on_the_host() -> Iterator[None]:
    """Let the host's default generator stand in for the device's, for an operator that takes no generator."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(state.default.get_state())
    try:
        yield
    finally:
        state.default.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def require_npu(generator: Any) -> Any:
    """The generator to draw from on the device: the default one, or the given one if it is of the device."""
    if generator is None:
        return state.default
    if generator._cdata not in state.by_address:
        raise RuntimeError(f"Expected a 'npu' device type for generator but found '{generator.device.type}'")
    return generator


class DefaultGenerators:
    """``torch.npu.default_generators``: the default generator of each device."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        if index not in (0, -1):
            raise IndexError(f"the emulated npu has one device, npu:0, and no generator of npu:{index}")
        return state.default
