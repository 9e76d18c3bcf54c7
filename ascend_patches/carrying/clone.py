"""Changes read from a clone of upstream's repository, bare or not. Nothing of the clone is executed.

Only plumbing commands run, with every setting of the clone out of reach that could start a program: no hook, no filter,
no external diff, no lazy fetch.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import TracebackType

from ascend_patches.carrying.change import Change, Commit, FileChange
from ascend_patches.errors import CarryError

_SAFE = (
    "-c",
    "safe.directory=*",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.allow=never",
    "-c",
    "core.quotePath=false",
    "-c",
    "diff.renameLimit=1000",
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
}
_FORMAT = "%H%x00%an <%ae>%x00%ad%x00%s%x00%b%x01"


class Clone:
    """A clone that lies on this machine."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.isdir(path):
            raise CarryError(f"{path}: there is no such folder; --repo names a clone of upstream's repository")
        kept = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_EXTERNAL_DIFF")
        clean = {name: value for name, value in os.environ.items() if name not in kept}
        self._environment = {**clean, **_ENVIRONMENT}
        self._batch: subprocess.Popen[bytes] | None = None
        self._texts: dict[str, str | None] = {}
        self._run("rev-parse", "--git-dir")

    def __enter__(self) -> Clone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process that reads objects."""
        if self._batch is not None:
            if self._batch.stdin is not None:
                self._batch.stdin.close()
            if self._batch.stdout is not None:
                self._batch.stdout.close()
            self._batch.wait()
            self._batch = None

    def commit(self, revision: str) -> str:
        """The full name of one commit."""
        return self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()

    def has(self, revision: str) -> bool:
        """Whether there is a commit of this name."""
        try:
            return bool(self.commit(revision))
        except CarryError:
            return False

    def merge_base(self, first: str, second: str) -> str:
        """The commit from which two lines went their own ways."""
        return self._run("merge-base", self.commit(first), self.commit(second)).strip()

    def change(self, revisions: str) -> Change:
        """The change that ``COMMIT`` or ``OLDER..NEWER`` makes, from its first parent on."""
        older, dots, newer = revisions.partition("..")
        if newer.startswith("."):
            raise CarryError(f"{revisions}: three dots name no change; write OLDER..NEWER")
        last = self.commit(newer or "HEAD") if dots else self.commit(older)
        if dots:
            first = self.merge_base(older or "HEAD", last)
            commits = self.log(f"{first}..{last}", "--no-merges")
            if not commits:
                raise CarryError(f"{revisions}: there is no commit in this range")
        else:
            parents = self._run("rev-list", "--parents", "-n", "1", last).split()[1:]
            first = parents[0] if parents else ""
            commits = self.log("-1", last)
        return Change(
            tuple(commits),
            tuple(self._files(first, last)),
            whole=True,
            base=lambda path: self.text(first, path) if first else None,
            source=revisions,
        )

    def log(self, *arguments: str) -> list[Commit]:
        """Commits, oldest first."""
        written = self._run(
            "log", "--reverse", "--date=iso-strict", "--no-show-signature", f"--format={_FORMAT}", *arguments
        )
        found = []
        for record in written.split("\x01"):
            fields = record.strip("\n").split("\x00")
            if len(fields) == 5:
                found.append(Commit(*(field.strip() for field in fields)))
        return found

    def newest(self, revisions: str, most: int, paths: Sequence[str], *options: str) -> list[str]:
        """The commits of a range that touch some paths, the newest first, without those that were merged in."""
        shown = ("log", "--no-show-signature", "--format=%H", "--first-parent", f"-{most}")
        return self._run(*shown, *options, revisions, "--", *paths).split()

    def history(self, first: str, last: str) -> list[str]:
        """The commits between two, oldest first, without those that were merged in."""
        return self._run("rev-list", "--reverse", "--first-parent", f"{first}..{last}").split()

    def paths(self, commit: str, folder: str) -> list[str]:
        """The files below a folder of a commit's tree."""
        return [
            path for path in self._run("ls-tree", "-r", "-z", "--name-only", commit, f"{folder}/").split("\0") if path
        ]

    def text(self, commit: str, path: str) -> str | None:
        """A file of a commit's tree as text, or None where there is none."""
        return self._object(f"{commit}:{path}")

    def _files(self, first: str, last: str) -> Iterable[FileChange]:
        diff = [
            "diff-tree",
            "-r",
            "-M50%",
            "-z",
            "--raw",
            "--no-commit-id",
            "--full-index",
            "--no-ext-diff",
            "--no-textconv",
        ]
        raw = self._run(*diff, first, last) if first else self._run(*diff, "--root", last)
        fields = iter(raw.split("\0"))
        for header in fields:
            if not header.startswith(":"):
                continue
            old_mode, new_mode, old_blob, new_blob, status = header[1:].split(" ")
            old_path = next(fields)
            path = next(fields) if status[0] in "RC" else old_path
            if "160000" in (old_mode, new_mode) or "120000" in (old_mode, new_mode):
                yield FileChange(path, old_path, None, None, "a submodule or a link")
                continue
            before = None if set(old_blob) == {"0"} else self._object(old_blob)
            after = None if set(new_blob) == {"0"} else self._object(new_blob)
            binary = (before is None) != (set(old_blob) == {"0"}) or (after is None) != (set(new_blob) == {"0"})
            yield FileChange(path, old_path, before, after, "not a text file" if binary else "")

    def _object(self, name: str) -> str | None:
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def _read(self, name: str) -> str | None:
        if "\n" in name:
            return None
        if self._batch is None:
            self._batch = subprocess.Popen(
                ["git", *_SAFE, "-C", self.path, "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
            )
        pipe_in, pipe_out = self._batch.stdin, self._batch.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(name.encode() + b"\n")
        pipe_in.flush()
        header = pipe_out.readline().split()
        if len(header) != 3 or header[1] not in (b"blob", b"tree", b"commit", b"tag"):
            return None
        content = pipe_out.read(int(header[2]))
        pipe_out.read(1)
        return as_text(content) if header[1] == b"blob" else None

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *_SAFE, "-C", self.path, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment,
            )
        except FileNotFoundError:
            raise CarryError("git is not installed; without it, give the change as a .patch file") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            what = " ".join(argument for argument in arguments if not argument.startswith("--"))
            raise CarryError(f"{self.path}: git {what}: {said[0] if said else 'there is no such commit'}")
        return done.stdout.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)
def as_text(content: bytes) -> str | None:
    """A file's content with plain line ends; None of what is no text."""
    if b"\0" in content:
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")
