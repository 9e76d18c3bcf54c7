"""Whether a compiler makes the code of an encoder's blocks: then what they are given stays the release's own.

Another shape, or one tensor more, would cost such blocks more graphs than it saves operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def any_compiled(blocks: Iterable[Any]) -> bool:
    return any(map(_compiled, blocks))


def _compiled(block: Any) -> bool:
    """By vLLM, or by a user in one of the three ways of torch.compile: in place, around the module, of its forward."""
    own = block.__dict__
    return (
        not own.get("do_not_compile", True)
        or own.get("_compiled_call_impl") is not None
        or "_orig_mod" in own.get("_modules", ())
        or hasattr(own.get("forward"), "_torchdynamo_orig_callable")
    )
