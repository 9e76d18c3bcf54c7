"""Names the code of ``mla-multistream`` in the text of a model, by which torchair finds the graphs that it has cached.

torchair keeps a compiled graph under a hash of ``str(model)`` and the compiler's options; the code is not in it. Left
alone, a graph from before the patch would go on running without it, and one with it after its removal.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CODE = (
    "ascend_patches.patches.mla_multistream.replacements",
    "ascend_patches.patches.mla_multistream.mla_decode",
    "ascend_patches.npu.mla_prefetch",
)
"""The modules whose code ends up in a graph."""


def name_of(contents: Iterable[bytes]) -> str:
    return "mla-multistream " + hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


def code_of(module: str) -> bytes:
    """The text of a module, which is not imported for it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()


_NAME = name_of(map(code_of, CODE))


def name_in_text(wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Advice for the constructor of an attention layer: the layer names the code that its forward runs."""
    wrapped(*args, **kwargs)
    if instance.enable_multistream_mla:
        instance.extra_repr = _text


def is_named(attention: Any) -> bool:
    """Whether a layer names the code; one that is older than the patch does not, and has to run upstream's."""
    return attention.extra_repr is _text


def _text() -> str:
    """The name, as long as the patch is applied: a graph that is compiled after its removal is upstream's again."""
    from vllm_ascend.attention.mla_v1 import AscendMLAImpl

    replacements = sys.modules.get("ascend_patches.patches.mla_multistream.replacements")
    ours = getattr(replacements, "impl_forward", None)
    applied = ours is not None and AscendMLAImpl.forward.__code__ is ours.__code__
    return _NAME if applied else ""
