"""Judge many changes in a few processes of their own, each change within a time limit."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

_FORK = multiprocessing.get_context("fork")


class _Worker:
    """A process that answers one task after the other, and keeps what it has read of the release in between."""

    def __init__(self, open_judge: Callable[[], Callable[[str], Any]]) -> None:
        self.connection, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_serve, args=(theirs, open_judge), daemon=True)
        self.process.start()
        theirs.close()
        self.task = -1
        self.since = 0.0

    def give(self, index: int, task: str) -> None:
        self.task, self.since = index, time.monotonic()
        self.connection.send(task)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def judged(
    tasks: Sequence[str], open_judge: Callable[[], Callable[[str], Any]], count: int, limit: float
) -> Iterator[tuple[int, Any | None, float]]:
    """The index of each task, its answer, and the seconds that it took, as they come; None is one out of time.

    ``open_judge`` makes the function that judges, in the worker. A worker whose task takes longer than the limit, or
    kills it, is replaced.
    """
    waiting = list(reversed(range(len(tasks))))
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                workers.append(_Worker(open_judge))
                index = waiting.pop()
                workers[-1].give(index, tasks[index])
            ready = wait([worker.connection for worker in workers], timeout=1.0)
            for worker in list(workers):
                took = time.monotonic() - worker.since
                answer, alive = None, True
                if worker.connection in ready:
                    try:
                        answer = worker.connection.recv()
                    except (EOFError, OSError):
                        alive = False
                elif took < limit:
                    continue
                else:
                    alive = False
                yield worker.task, answer, took
                if alive and waiting:
                    index = waiting.pop()
                    worker.give(index, tasks[index])
                else:
                    worker.stop()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


def _serve(connection: Connection, open_judge: Callable[[], Callable[[str], Any]]) -> None:
    judge = open_judge()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(judge(task))
