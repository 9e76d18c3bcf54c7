"""The inputs of calls that went wrong, kept as files where the operator named a directory for them.

Bounded in number and size over all processes that share the directory; readable by their owner alone, since they hold
what users sent. Nothing that goes wrong with a file may disturb the call.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from ascend_patches.basics.files import write_whole
from ascend_patches.shadow.copies import size_of
from ascend_patches.shadow.described import value_of
from ascend_patches.shadow.kinds import is_tensor

MOST_FILES = 16
MOST_BYTES = 64 * 1024**2
_PREFIX = "ascend_patches-shadow-"


class NotKeptError(Exception):
    """Why the inputs of a call are not kept, in words."""


def write(folder: str, name: str, contents: Mapping[str, Any]) -> str:
    """Leave one file, whole or not at all; says where. It holds tensors, containers of them and plain values."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if sum(each.startswith(_PREFIX) for each in os.listdir(folder)) >= MOST_FILES:
        raise NotKeptError(f"there are {MOST_FILES} files in {folder} already")
    if size_of(contents) > MOST_BYTES:
        raise NotKeptError(f"they are larger than {MOST_BYTES} bytes")
    data, ending = _encoded({key: _plain(value) for key, value in contents.items()})
    path = os.path.join(folder, f"{_PREFIX}{name}-{os.getpid()}-{uuid4().hex[:8]}{ending}")
    write_whole(path, data, 0o600)
    return path


def _encoded(contents: dict[str, Any]) -> tuple[bytes, str]:
    torch = sys.modules.get("torch")
    if torch is None:
        return json.dumps(contents, indent=2, default=repr).encode(), ".json"
    # Not straight to the file: of a full disk torch says something else than the system does.
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    return buffer.getvalue(), ".pt"


def _plain(value: Any) -> Any:
    """What torch.load(weights_only=True) can read: on the CPU, and without classes of other packages."""
    if is_tensor(value):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    return value_of(value)
