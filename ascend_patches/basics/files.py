"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile


def write_whole(path: str, data: bytes, mode: int) -> None:
    """Put a file in place in one step, with these rights; a reader sees the file before or the file after.

    The rights are set on the open file, because a path may lead to another file a moment later.
    """
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=os.path.dirname(path) or os.curdir)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
