"""Many changes judged in a few processes: one that takes too long, or kills its process, stops no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from carried_changes.workers import judged


def _judge() -> Callable[[str], str]:
    def one(task: str) -> str:
        if task == "slow":
            time.sleep(60)
        if task == "deadly":
            os._exit(3)
        return task.upper()

    return one


def test_each_task_is_answered_or_given_up() -> None:
    tasks = ["a", "slow", "b", "deadly", "c"]
    answers = {tasks[index]: answer for index, answer, _ in judged(tasks, _judge, 2, 2.0)}
    assert answers == {"a": "A", "b": "B", "c": "C", "slow": None, "deadly": None}
