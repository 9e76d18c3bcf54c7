"""A side of a comparison, upstream or patched: a process of its own that answers questions line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ascend_patches.errors import AscendPatchesError


class SideError(AscendPatchesError):
    """A side ended before it answered, or answered that it cannot go on."""


class SideProcess:
    """The end that asks."""

    def __init__(self, side: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.side = side
        # A file, because a pipe that is not read stops the process once it is full.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # What the process leaves there goes with it, however it ends.
        self._scratch = tempfile.TemporaryDirectory(prefix="ascend-patches-side-", ignore_cleanup_errors=True)
        environ = {**environ, "TMPDIR": self._scratch.name}
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )

    def ask(self, do: str, **words: Any) -> Any:
        self.tell(do, **words)
        return self.answer()

    def tell(self, do: str, **words: Any) -> None:
        """Ask without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        """End the process: it stops where no more questions come."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue
        self._process.wait()
        self._said.close()
        self._scratch.cleanup()

    def _ended(self) -> SideError:
        code = self._process.wait()
        self._said.seek(0)
        last = self._said.read().decode("utf-8", "replace")[-3000:]
        return SideError(f"the {self.side} side ended with {code}; it last said:\n{last}")


def answer(made: Callable[[], object], within: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    """The end that answers: each question names a method of what is made, and that method's arguments."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    served: object = None
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        try:
            served = made() if served is None else served
            with within():
                found = {"answer": getattr(served, question.pop("do"))(**question)}
        except AscendPatchesError as error:
            found = {"error": str(error)}
        print(json.dumps(found), file=answers, flush=True)
