"""The folder of reports: each process leaves a file there, and reads none of the others without distrust.

Others may write in that folder. A file that is no report is named, and hides nothing else.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ascend_patches.reporting import form, lifetime, plain_text, untrusted
from ascend_patches.reporting.untrusted import RefusedError

READERS: Mapping[str, int] = {"owner": 0o600, "group": 0o640, "all": 0o644}
"""Who may read a report, as the settings say it, and the rights that follow."""

MOST_FILES = 10_000
MOST_BYTES = 256 * 1024**2
"""What is read at one time of all reports together."""
MOST_IN_A_SCRAPE = 16 * 1024**2

KEPT_ENDED = 32
KEPT_FOR = 24 * 3600.0
"""So many reports of processes that have ended stay, for so many seconds: enough to see why a server went down."""

_PREFIX, _ENDING, _DRAFT = "ascend_patches-", ".json", ".draft-ascend_patches-"
_OF_A_PROCESS = re.compile(rf"{re.escape(_PREFIX)}(.+)-(\d{{1,10}}){re.escape(_ENDING)}", re.DOTALL)


class _Entry(NamedTuple):
    name: str
    status: os.stat_result

    @property
    def pid(self) -> int:
        """The process that the name gives; 0 where it gives none of this host."""
        found = _OF_A_PROCESS.fullmatch(self.name)
        return int(found[2]) if found is not None and found[1] == _host_in_names() else 0


def write(folder: str, data: dict[str, Any], readers: str = "group") -> str:
    """Leave a report, whole or not at all, in a file that belongs to this process and that few may read."""
    name = f"{_PREFIX}{_in_a_name(data['host'])}-{data['pid']}{_ENDING}"
    draft = f"{_DRAFT}{_in_a_name(data['host'])}-{data['pid']}-{secrets.token_hex(8)}"
    rights = READERS[readers]
    # Who may read the files may list them.
    os.makedirs(folder, mode=rights | 0o100 | (rights & 0o044) >> 2, exist_ok=True)
    with _opened(folder) as place:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600, dir_fd=place)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(form.shortened(data), stream, indent=2, default=str)
                stream.flush()
                # On the open file: a path may lead to another file a moment later.
                os.fchmod(descriptor, rights)
                ours = os.fstat(descriptor)
            os.replace(draft, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=place)
            raise
        there = os.stat(name, dir_fd=place, follow_symlinks=False)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise OSError(f"{name} was exchanged for another file while it was written")
    return os.path.join(folder, name)


def read(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The reports in a directory, and what is wrong with the files that are none."""
    reports: list[tuple[str, dict[str, Any]]] = []
    problems: list[tuple[str, str]] = []
    room = MOST_BYTES
    with _opened(folder) as place:
        entries = list(_entries(place, _PREFIX))
        # What this user left, and what is small, first: no pile of other files can take their room.
        entries.sort(key=lambda entry: (entry.status.st_uid != os.geteuid(), entry.status.st_size))
        for entry in entries[:MOST_FILES]:
            try:
                data, size = _report(entry.name, place, room)
            except FileNotFoundError:  # cleaned up at this moment
                continue
            except (RefusedError, form.FormError, OSError) as error:
                problems.append((entry.name, _described(error)))
            else:
                room -= size
                reports.append((entry.name, {**data, "running": lifetime.still_runs(data)}))
    left_out = [f"{folder}: {len(entries) - MOST_FILES} files more are not read"] if len(entries) > MOST_FILES else []
    named = [f"{os.path.join(folder, plain_text.one_line(name))}: no report: {what}" for name, what in sorted(problems)]
    return [data for _, data in sorted(reports, key=lambda pair: pair[0])], [*named, *left_out]


def of_the_others(folder: str, refused: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The reports of the other processes that run on this host; what is no report of theirs goes to ``refused``.

    Only a file that belongs to the process's own user, or to root, speaks for a process.
    """
    refused = [] if refused is None else refused
    if not os.path.isdir(folder):
        return
    room = MOST_IN_A_SCRAPE
    with _opened(folder) as place:
        for entry in _entries(place, _PREFIX):
            pid = entry.pid
            owner = lifetime.owner_of(pid) if pid and pid != os.getpid() else None
            if owner is None:
                continue
            try:
                if entry.status.st_uid not in (owner, 0):
                    raise RefusedError("belongs to another user than the process that it is named after")
                data, size = _report(entry.name, place, room)
                if (data["pid"], data["host"]) != (pid, lifetime.host()):
                    raise RefusedError("speaks of another process than its name")
            except FileNotFoundError:
                continue
            except (RefusedError, form.FormError, OSError) as error:
                refused.append(f"{os.path.join(folder, plain_text.one_line(entry.name))}: {_described(error)}")
            else:
                room -= size
                if lifetime.still_runs(data):
                    yield data


def clean_up(folder: str) -> list[str]:
    """Remove what processes of this user left on this host and have no use for any more; returns the names.

    A report goes when its process has ended by every mark that it bears (host, boot, pids' namespace, start) and it is
    old, or there are many of them. What bears no such marks stays.
    """
    removed: list[str] = []
    with suppress(OSError), _opened(folder) as place:
        ended: list[tuple[float, _Entry]] = []
        for entry in _entries(place, _PREFIX):
            if entry.pid not in (0, os.getpid()) and entry.status.st_uid == os.geteuid() and _has_ended(entry, place):
                ended.append((entry.status.st_mtime, entry))
        newest_first = sorted(ended, key=lambda pair: -pair[0])
        long_ago = time.time() - KEPT_FOR
        for index, (changed, entry) in enumerate(newest_first):
            if (index >= KEPT_ENDED or changed < long_ago) and _remove(entry, place):
                removed.append(entry.name)
        for entry in _entries(place, f"{_DRAFT}{_host_in_names()}-"):
            if entry.status.st_uid == os.geteuid() and entry.status.st_mtime < long_ago and _remove(entry, place):
                removed.append(entry.name)
    return removed


def _has_ended(entry: _Entry, place: int) -> bool:
    if lifetime.started_at(entry.pid) is not None and entry.status.st_mtime > time.time() - KEPT_FOR:
        # Most likely it runs; and if its pid is another program's by now, the file is looked at when it is old.
        return False
    try:
        data, _ = _report(entry.name, place, untrusted.MOST_BYTES)
    except (RefusedError, form.FormError, OSError):
        return False
    marked = data.get("process") is not None and (data["pid"], data["host"]) == (entry.pid, lifetime.host())
    return marked and lifetime.still_runs(data) is False


def _remove(entry: _Entry, place: int) -> bool:
    """Remove a file if it is still the one that was looked at."""
    with suppress(OSError):
        there = os.stat(entry.name, dir_fd=place, follow_symlinks=False)
        same = (there.st_dev, there.st_ino, there.st_mtime_ns) == (
            entry.status.st_dev,
            entry.status.st_ino,
            entry.status.st_mtime_ns,
        )
        if same and stat.S_ISREG(there.st_mode):
            os.unlink(entry.name, dir_fd=place)
            return True
    return False


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entries(place: int, prefix: str) -> Iterator[_Entry]:
    """The files of an open folder that bear the name of a report, or of a draft of one."""
    ending = _ENDING if prefix == _PREFIX else ""
    with os.scandir(place) as found:
        for each in found:
            if each.name.startswith(prefix) and each.name.endswith(ending):
                with suppress(OSError):
                    yield _Entry(each.name, each.stat(follow_symlinks=False))


def _report(name: str, place: int, room: int) -> tuple[dict[str, Any], int]:
    document = untrusted.read(name, place, room)
    return form.checked(document.data), document.status.st_size


def _described(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return plain_text.one_line(str(error))


def _in_a_name(host: str) -> str:
    """A host's name without what means something in a path."""
    return re.sub(r"[^\w.-]", "_", host, flags=re.ASCII)[:200] or "_"


def _host_in_names() -> str:
    return _in_a_name(lifetime.host())
