"""Reads a JSON file of unknown origin: it never waits, follows no link and reads no more than a bounded size."""

from __future__ import annotations

import json
import math
import os
import stat
from typing import Any, NamedTuple

MOST_BYTES = 1024**2
MOST_VALUES = 50_000
DEEPEST = 16
_LARGEST_INTEGER = 2**63


class RefusedError(Exception):
    """Why a file is not read, in words."""


class Document(NamedTuple):
    """What was in a file, and the file's identity while it was read."""

    data: Any
    status: os.stat_result


def read(name: str, folder: int, room: int = MOST_BYTES) -> Document:
    """A file of an open folder, of at most so many bytes; RefusedError says why not. FileNotFoundError: it is gone."""
    most = min(room, MOST_BYTES)
    # Before it is opened as well, because opening a device can do something.
    _refuse_unless_regular(os.stat(name, dir_fd=folder, follow_symlinks=False), most)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RefusedError(f"cannot be opened: {error.strerror or error}") from None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _refuse_unless_regular(status, most)
        try:
            content = stream.read(most + 1)
        except OSError as error:
            raise RefusedError(f"cannot be read: {error.strerror or error}") from None
    if len(content) > most:
        raise RefusedError(f"is larger than {most} bytes")
    return Document(parsed(content), status)


def parsed(content: bytes) -> Any:
    """JSON of bounded size and depth, in which every key is there once and every number is one."""
    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=_unambiguous, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise RefusedError(f"is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise RefusedError(f"is not JSON: {str(error)[:200]}") from None
    except RecursionError:
        raise RefusedError("is nested too deeply") from None
    _refuse_unless_bounded(data)
    return data


def _refuse_unless_regular(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"is no regular file but {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}")
    if status.st_size > most:
        raise RefusedError(f"is larger than {most} bytes")


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _refuse_unless_bounded(data: Any) -> None:
    level, depth, count = [data], 0, 0
    while level:
        count += len(level)
        if depth > DEEPEST:
            raise RefusedError(f"is nested deeper than {DEEPEST}")
        if count > MOST_VALUES:
            raise RefusedError(f"holds more than {MOST_VALUES} values")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif type(value) is int and abs(value) >= _LARGEST_INTEGER:
                raise RefusedError("holds a number beyond 64 bits")
            elif type(value) is float and not math.isfinite(value):
                raise RefusedError("holds a number that is not finite")
        level, depth = below, depth + 1
