"""The stand-in for torchair: its stream scope and its waits, recorded in eager mode and visible in a graph."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx.node import has_side_effect

from . import _streams
from ._memory import is_npu
from ._ops._state import STATE
from ._stand_in import StandIn, fill, put_in_place, refusing_class, refusing_function

_STREAM_LABEL = "_user_stream_label"
_STREAM_PRIORITY = "_user_stream_priority"

# As torchair defines them.
_SCHEMAS = (
    "scope_enter(str[] keys, str[] values, bool need_excute=False) -> None",
    "scope_exit(bool need_excute=False) -> None",
    "wait_tensor(Tensor self, Tensor dependency) -> Tensor",
)


class _Scopes(threading.local):
    """The open scopes of a thread: for each, the stream that was current before it."""

    def __init__(self) -> None:
        self.outer: list[int] = []


class _Streams:
    """The streams that scopes switched to, by tag: one tag is one stream for the whole process."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.scopes = _Scopes()

    def of_tag(self, tag: str) -> int:
        if tag not in self.ids:
            self.ids[tag] = _streams.new_stream_id()
        return self.ids[tag]


_streams_by_tag = _Streams()


def stream_of_tag(tag: str) -> int:
    """The id, in traces, of the stream that ``npu_stream_switch(tag)`` switches to."""
    return _streams_by_tag.of_tag(tag)


class Scope:
    """A ``with`` block whose operations carry attributes; the stream label is the one that means something here."""

    def __init__(self, attributes: Sequence[tuple[str, str]]) -> None:
        self.attributes = attributes

    def __enter__(self) -> None:
        keys = [key for key, _ in self.attributes]
        values = [value for _, value in self.attributes]
        torch.ops.air.scope_enter(keys, values)

    def __exit__(self, *exc_info: object) -> None:
        torch.ops.air.scope_exit()


def npu_stream_switch(stream_tag: str, stream_priority: int = 0) -> Scope:
    """Put the operations of a ``with`` block on the stream with this tag."""
    return Scope([(_STREAM_LABEL, stream_tag), (_STREAM_PRIORITY, str(stream_priority))])


def npu_wait_tensor(self: torch.Tensor, dependency: torch.Tensor) -> torch.Tensor:
    """``self``, which is not to be touched before ``dependency`` is there."""
    waited: torch.Tensor = torch.ops.air.wait_tensor(self, dependency)
    return waited


def _enter(keys: list[str], values: list[str], need_excute: bool = False) -> None:
    attributes = dict(zip(keys, values, strict=True))
    _streams_by_tag.scopes.outer.append(_streams.current_stream_id())
    tag = attributes.get(_STREAM_LABEL)
    if tag is not None:
        _streams.set_current_stream_id(_streams_by_tag.of_tag(tag))
    _streams.note("air::scope_enter", [], [], attributes=attributes)


def _exit(need_excute: bool = False) -> None:
    if not _streams_by_tag.scopes.outer:
        raise RuntimeError("scope_exit: no scope is open in this thread")
    _streams.note("air::scope_exit", [], [])
    _streams.set_current_stream_id(_streams_by_tag.scopes.outer.pop())


def _wait(self: torch.Tensor, dependency: torch.Tensor) -> torch.Tensor:
    if is_npu(self):
        _streams.note("air::wait_tensor", [self, dependency], [self])
    return self


def _register() -> None:
    library = torch.library.Library("air", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    for name, kernel, nothing in (
        ("scope_enter", _enter, lambda keys, values, need_excute=False: None),
        ("scope_exit", _exit, lambda need_excute=False: None),
    ):
        library.impl(name, kernel, "CompositeExplicitAutograd")
        # Without it, tracing would run the kernel and switch streams while a graph is being built.
        torch.library.register_fake(f"air::{name}", nothing, lib=library)
        has_side_effect(getattr(torch.ops.air, name).default)
    for key in ("CPU", "PrivateUse1"):
        library.impl("wait_tensor", _wait, key)
    library.impl("wait_tensor", lambda self, dependency: self, "Meta")
    STATE.libraries.append(library)


def install() -> None:
    """Put ``torchair`` and its submodules in place and define its ops."""
    _register()
    names: dict[str, dict[str, Any]] = {
        "torchair": {
            "CompilerConfig": refusing_class("torchair.CompilerConfig", __file__),
            **_functions("torchair", "get_npu_backend", "get_compiler", "dynamo_export", "patch_for_hcom"),
        },
        "torchair.scope": {"npu_stream_switch": npu_stream_switch, "npu_wait_tensor": npu_wait_tensor},
        "torchair.ops": {},
        "torchair.inference": _functions("torchair.inference", "cache_compile"),
        "torchair.llm_datadist": _functions("torchair.llm_datadist", "create_npu_tensors"),
        "torchair.configs": {},
        "torchair.configs.compiler_config": {
            "CompilerConfig": refusing_class("torchair.configs.compiler_config.CompilerConfig", __file__)
        },
        "torchair._contrib": {},
        "torchair._contrib.custom_torch_ops": {},
        "torchair.core": {},
        "torchair.core._concrete_graph": {
            **_functions("torchair.core._concrete_graph", "_is_symlist"),
            "ValuePack": refusing_class("torchair.core._concrete_graph.ValuePack", __file__),
        },
        "torchair.npu_fx_compiler": {
            **_functions("torchair.npu_fx_compiler", "_unpack_meta_list", "_unpack_meta"),
            "_NpuGraphConverter": refusing_class("torchair.npu_fx_compiler._NpuGraphConverter", __file__),
        },
        "torchair.fx_summary": {
            "_NpuGraphConverter": refusing_class("torchair.fx_summary._NpuGraphConverter", __file__)
        },
    }
    for name, content in names.items():
        module = StandIn(name, "the emulated torchair", __file__)
        fill(module, content)
        put_in_place(module)


def _functions(module: str, *names: str) -> dict[str, Any]:
    return {name: refusing_function(f"{module}.{name}", __file__) for name in names}
