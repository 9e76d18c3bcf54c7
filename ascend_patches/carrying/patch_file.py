"""Changes read from what a forge serves as ``.patch`` or ``.diff``: several commits, renames, new and deleted files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from email import policy
from email.parser import Parser

from ascend_patches.carrying.change import Change, Commit, FileChange, FileKind, kind_of
from ascend_patches.carrying.release_code import Code
from ascend_patches.errors import CarryError

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)")
_INDEX = re.compile(r"index ([0-9a-f]{7,40})\.\.([0-9a-f]{7,40})(?: \d+)?$")
_HEADING = re.compile(r"\s*(?:class|(?:async\s+)?def)\s+(\w+)")
_MAIL = re.compile(r"^From [0-9a-f]{7,64} .*$", re.MULTILINE)


@dataclass
class Hunk:
    """One stretch of a file, before and after."""

    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    line: int = 1
    new_line: int = 1
    heading: str = ""

    @property
    def text(self) -> str:
        return "\n".join([self.heading or f"line {self.line}", *self.new])


@dataclass
class FileDiff:
    """What a patch does to one file."""

    old_path: str
    path: str
    hunks: list[Hunk] = field(default_factory=list)
    blobs: tuple[str, str] = ("", "")
    """The names that git has for the file before and after, as far as they are written out."""
    new: bool = False
    deleted: bool = False
    binary: bool = False


def read(text: str, code: Code, source: str, kind: FileKind = "product") -> Change:
    """The change of a patch file, laid onto the release's own files where their lines are found.

    Only the files of one kind are laid; of the others it is known that the change touches them.
    """
    text = text.replace("\r\n", "\n")
    mails = _mails(text)
    commits, diffs = [], []
    for mail in mails:
        commits.append(_commit(mail))
        diffs.append(_diffs(mail))
    if not any(diffs):
        raise CarryError(f"{source}: there is no difference in it; a .patch or .diff file is expected")
    files: dict[str, FileChange] = {}
    for one in diffs:
        for diff in one:
            earlier = files.pop(diff.old_path, None) or files.pop(diff.path, None)
            files[diff.path] = _laid(diff, code, earlier, kind)
    named = tuple(commit for commit in commits if commit.subject)
    return Change(named, tuple(files.values()), whole=False, source=source)


def _mails(text: str) -> list[str]:
    starts = [match.start() for match in _MAIL.finditer(text)]
    if not starts:
        return [text]
    return [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _commit(mail: str) -> Commit:
    head, dashes, _ = mail.partition("\n---\n")
    if not _MAIL.match(mail) or not dashes:
        return Commit("", "", "", "")
    sha = mail.split(" ", 2)[1]
    message = Parser(policy=policy.default).parsestr(head.partition("\n")[2])
    subject = re.sub(r"^\[PATCH[^\]]*\] ?", "", " ".join(str(message["Subject"] or "").split()))
    body = message.get_payload()
    return Commit(sha, str(message["From"] or ""), str(message["Date"] or ""), subject, str(body).strip())


def _diffs(mail: str) -> list[FileDiff]:
    found: list[FileDiff] = []
    current: FileDiff | None = None
    lines = mail.split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.startswith("diff --git "):
            old_path, path = _paths(line)
            current = FileDiff(old_path, path)
            found.append(current)
        elif line.startswith("--- ") and index + 1 < len(lines) and lines[index + 1].startswith("+++ "):
            old_path, path = _plain(line[4:]), _plain(lines[index + 1][4:])
            if current is None or current.hunks:
                current = FileDiff(old_path or path, path or old_path)
                found.append(current)
            current.new, current.deleted = current.new or not old_path, current.deleted or not path
            current.old_path, current.path = old_path or current.old_path, path or current.path
            index += 1
        elif current is not None and (match := _INDEX.match(line)):
            current.blobs = match[1], match[2]
        elif current is not None and line.startswith("rename from "):
            current.old_path = _unquoted(line[12:])
        elif current is not None and line.startswith("rename to "):
            current.path = _unquoted(line[10:])
        elif current is not None and line.startswith(("GIT binary patch", "Binary files ")):
            current.binary = True
        elif current is not None and line.startswith("new file mode"):
            current.new = True
        elif current is not None and line.startswith("deleted file mode"):
            current.deleted = True
        elif current is not None and (match := _HUNK.match(line)):
            index = _hunk(lines, index, match, current)
            continue
        index += 1
    return found


def _hunk(lines: list[str], index: int, match: re.Match[str], current: FileDiff) -> int:
    """Read one hunk by the counts in its head; returns the index after it."""
    old_left, new_left = int(match[2] or 1), int(match[4] or 1)
    hunk = Hunk(line=int(match[1]), new_line=int(match[3]), heading=match[5])
    index += 1
    while index < len(lines) and (old_left > 0 or new_left > 0):
        mark, rest = lines[index][:1], lines[index][1:]
        if mark in (" ", ""):
            hunk.old.append(rest)
            hunk.new.append(rest)
            old_left, new_left = old_left - 1, new_left - 1
        elif mark == "-":
            hunk.old.append(rest)
            old_left -= 1
        elif mark == "+":
            hunk.new.append(rest)
            new_left -= 1
        elif mark != "\\":
            raise CarryError(f"line {index + 1} of the patch is cut off: {lines[index][:60]!r} in a hunk")
        index += 1
    if old_left > 0 or new_left > 0:
        raise CarryError("the patch is cut off in its last hunk")
    current.hunks.append(hunk)
    return index


def _laid(diff: FileDiff, code: Code, earlier: FileChange | None, wanted: FileKind) -> FileChange:
    """A file's difference, applied to what the release has, or to what an earlier commit of the patch left."""
    if diff.binary:
        return FileChange(diff.path, diff.old_path, None, None, "a binary file")
    if kind_of(diff.path, code.packages) != wanted:
        return FileChange(diff.path, diff.old_path, None if diff.new else "", None if diff.deleted else "")
    if diff.new:
        return FileChange(
            diff.path, diff.path, None, "\n".join(line for hunk in diff.hunks for line in hunk.new) + "\n"
        )
    known = earlier.before if earlier is not None else code.text(diff.old_path)
    old_path = earlier.old_path if earlier is not None else diff.old_path
    if diff.deleted:
        return FileChange(diff.path, old_path, known if known is not None else "", None)
    unplaced = list(earlier.unplaced) if earlier is not None else []
    start = earlier.after if earlier is not None else known
    if start is None or (known is None and earlier is None):
        return FileChange(diff.path, old_path, "", "", unplaced=(*unplaced, *(hunk.text for hunk in diff.hunks)))
    before, after = known, start
    if _is_blob(start, diff.blobs[0]):
        placed = _at_their_lines(start, diff.hunks)
        if placed is not None:
            return FileChange(diff.path, old_path, before, placed, unplaced=tuple(unplaced))
    for hunk in diff.hunks:
        placed = _replaced(after, hunk.old, hunk.new, hunk.heading)
        if placed is not None:
            after = placed
            continue
        # The release may have it already; then the side before the change is the release without it.
        taken_out = _replaced(before or "", hunk.new, hunk.old, hunk.heading)
        if taken_out is None:
            unplaced.append(hunk.text)
        else:
            before = taken_out
    return FileChange(diff.path, old_path, before, after, unplaced=tuple(unplaced))


def _is_blob(text: str, name: str) -> bool:
    """Whether a text is the file that git calls by this name, which may be cut short."""
    content = text.encode()
    return bool(name) and hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest().startswith(name)


def _at_their_lines(text: str, hunks: list[Hunk]) -> str | None:
    """The text with every hunk where its head says, which is right in the very file that the change was made to."""
    lines = text.split("\n")
    for hunk in hunks:
        at = hunk.new_line - 1 if hunk.new else hunk.new_line
        if lines[at : at + len(hunk.old)] != hunk.old:
            return None
        lines[at : at + len(hunk.old)] = hunk.new
    return "\n".join(lines)


def _replaced(text: str, old: list[str], new: list[str], heading: str) -> str | None:
    """The text with some lines replaced where they stand; None where they stand nowhere, or in several places alike.

    A hunk's own line number says nothing about another file than the one that it was made from. Its heading does: the
    class or function above it has to be the same.
    """
    lines = text.split("\n")
    if not old:
        return None if any(lines) else "\n".join([*new, ""])
    places = [at for at in range(len(lines) - len(old) + 1) if lines[at : at + len(old)] == old]
    places = [at for at in places if _is_below(lines, at, heading)]
    if len(places) != 1:
        return None
    at = places[0]
    return "\n".join([*lines[:at], *new, *lines[at + len(old) :]])


def _is_below(lines: list[str], at: int, heading: str) -> bool:
    """Whether a place is in the class or function that a hunk's heading names, if it names one."""
    wanted = _HEADING.match(heading)
    if wanted is None:
        return True
    above = [line for line in reversed(lines[:at]) if _HEADING.match(line)]
    # git shows the last line that begins at the margin; told that a file is Python, the last class or function.
    at_the_margin = next((line for line in above if not line[:1].isspace()), "")
    shown = {found[1] for line in (*above[:1], at_the_margin) if (found := _HEADING.match(line))}
    return wanted[1] in shown


def _paths(line: str) -> tuple[str, str]:
    """Both paths of a ``diff --git`` line, which are the same but for a rename."""
    rest = line[len("diff --git ") :]
    if rest.startswith('"'):
        parts = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        if len(parts) == 2:
            return _stripped(_unquoted(f'"{parts[0]}"')), _stripped(_unquoted(f'"{parts[1]}"'))
    middle = rest.find(" b/")
    return _stripped(rest[:middle]), _stripped(rest[middle + 1 :])


def _plain(name: str) -> str:
    """A path of a ``---`` or ``+++`` line; nothing for /dev/null."""
    name = _unquoted(name.partition("\t")[0])
    return "" if name == "/dev/null" else _stripped(name)


def _stripped(name: str) -> str:
    return name[2:] if name[:2] in ("a/", "b/") else name


def _unquoted(name: str) -> str:
    if not (name.startswith('"') and name.endswith('"')):
        return name
    raw = name[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")
