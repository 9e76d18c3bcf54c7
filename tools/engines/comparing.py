"""Whether two engines gave the same answers, token for token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TIE = 1e-4
"""Log-probabilities of two tokens that are nearer than this are as likely as each other in float32."""


@dataclass
class Comparison:
    """Answers compared so far; a tie is a step at which either of two tokens was as good, and each engine took one."""

    requests: int = 0
    tokens: int = 0
    equal: int = 0
    ties: int = 0
    largest: float = 0.0
    """The largest difference between the log-probabilities of the same token."""

    @property
    def different(self) -> int:
        return self.requests - self.equal - self.ties

    def add(self, one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[int]:
        """Take another batch in; which of its requests were answered differently, ties not among them."""
        found = []
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            self.requests += 1
            self.tokens += len(left["tokens"])
            parted = self._first_difference(left, right)
            if parted is None:
                self.equal += 1
            elif _is_tie(left["best"][parted], right["best"][parted]):
                self.ties += 1
            else:
                found.append(index)
        return found

    def _first_difference(self, left: dict[str, Any], right: dict[str, Any]) -> int | None:
        """The first step with another token; after it the two answer different texts."""
        steps = zip(left["tokens"], right["tokens"], left["best"], right["best"], strict=True)
        for step, (one, other, best, others_best) in enumerate(steps):
            if one != other:
                return step
            self.largest = max(self.largest, abs(best[0][1] - others_best[0][1]))
        return None


def _is_tie(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> bool:
    """Whether both engines had the same two tokens in front, as likely as each other."""
    near = all(len(best) == 2 and abs(best[0][1] - best[1][1]) < TIE for best in (left, right))
    return near and {token for token, _ in left} == {token for token, _ in right}
