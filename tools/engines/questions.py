"""What is asked of an engine: requests about pictures and videos, as data that says everything about their pixels."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from .serve import MOST_PICTURES

MOST_AT_ONCE = 5
_SIDES = (64, 320)
_FRAMES = (2, 8)
_WORDS = ("What is this?", "Compare.", "Describe it in full.", "Which is larger, and why?", "Anything new?")


@dataclass(frozen=True)
class Request:
    """One question; sizes are rows and columns of pixels, a video has its frames in front of them."""

    words: str
    pictures: tuple[tuple[int, int], ...] = ()
    video: tuple[int, int, int] | None = None
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        seen = [f"{rows}x{columns}" for rows, columns in self.pictures]
        if self.video is not None:
            frames, rows, columns = self.video
            seen.append(f"video of {frames} frames {rows}x{columns}")
        return ", ".join(seen) or "words only"


SHOWN = (
    Request("Hello"),
    Request("What is this?", ((64, 64),), seed=1),
    Request("Compare.", ((96, 160), (128, 64)), seed=2),
    Request("What is this?", ((320, 224),), seed=3),
    Request("What happens?", video=(8, 96, 128), seed=4),
)
"""What the demo asks, all at once: no picture, one, two of different sizes, a large one, a video."""


def batch(chosen: random.Random) -> list[Request]:
    """Some requests to be sent at once, of random sizes and counts."""
    return [_any_request(chosen) for _ in range(chosen.randint(1, MOST_AT_ONCE))]


def _any_request(chosen: random.Random) -> Request:
    def size() -> tuple[int, int]:
        return chosen.randint(*_SIDES), chosen.randint(*_SIDES)

    pictures = tuple(size() for _ in range(chosen.randint(0, MOST_PICTURES)))
    video = (chosen.randint(*_FRAMES), *size()) if chosen.random() < 0.3 else None
    return Request(chosen.choice(_WORDS), pictures, video, chosen.randrange(2**32))
