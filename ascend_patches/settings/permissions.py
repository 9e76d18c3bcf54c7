"""Reads a settings file only if no other user could have written it: as root, root alone may write it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ascend_patches.basics.paths import absolute
from ascend_patches.errors import SettingsError

LARGEST = 256_000


def read_trusted(file: str) -> str:
    """The text of a settings file; SettingsError where it is none that may be used."""
    try:
        # Opening a pipe would wait until something is written into it.
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError([f"{file}: not read: it is no regular file"])
            if os.geteuid() == 0:
                _refuse_if_others_can_write(file, status)
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror or error}"]) from None
    except ValueError as error:
        raise SettingsError([f"{file!r}: cannot be read: {error}"]) from None
    if len(content) > LARGEST:
        raise SettingsError([f"{file}: not read: it is larger than {LARGEST} bytes, so it is no settings file"])
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{file}, line {line}: not TOML: byte {error.start} is not UTF-8"]) from None


def _refuse_if_others_can_write(file: str, status: os.stat_result) -> None:
    """As root, read no file that another user could have written or put in place."""
    places = [(file, status), *((place, os.lstat(place)) for place in _path_and_links(file))]
    for place, status in places:
        # A link has no mode of its own, and in a sticky folder everybody keeps to what is theirs.
        exempt = stat.S_ISLNK(status.st_mode) or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)
        if status.st_uid != 0 or (status.st_mode & 0o022 and not exempt):
            mend = "let root own it and take the others' right to write (chown root, chmod go-w)"
            raise SettingsError([f"{file}: not read: this process is root and others can write {place}; {mend}"])


def _path_and_links(file: str) -> Iterator[str]:
    """Every folder and every symbolic link that is passed on the way to a file, and the file."""
    ahead, passed = [absolute(file)], set()
    while ahead:
        place = ahead.pop()
        if place not in passed:
            passed.add(place)
            yield place
            ahead.append(os.path.dirname(place))
            if os.path.islink(place):
                ahead.append(os.path.join(os.path.dirname(place), os.readlink(place)))
