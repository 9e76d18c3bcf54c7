"""One small release that the tests of surroundings change: a module with functions, a class, values, and its users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from carrying.made_releases import carried

RUNNER = "vllm_ascend/runner.py"
OTHER = "vllm_ascend/other.py"
HELPERS = "vllm_ascend/helpers.py"
BEFORE = dedent("""\
    import torch
    import torch_npu
    from vllm.config import Config
    from vllm_ascend import helpers

    LIMIT = 4


    def pick(x):
        return x + 1


    class Base:
        def plan(self, size):
            return size


    class Runner(Base):
        KIND = 1

        def __init__(self, config: Config):
            self.config = config

        def step(self, tokens):
            count = len(tokens)
            total = helpers.add(count, 1)
            self.plan(total)
            return total

        @property
        def size(self):
            return 3

        def late(self):
            return 5
""")
RELEASE = {
    RUNNER: BEFORE,
    "vllm/config.py": "class Config:\n    def __init__(self):\n        self.size = 1\n",
    HELPERS: (
        "def add(first, second):\n    return first + second\n\n\ndef both(first, second):\n    return first, second\n"
    ),
    "vllm_ascend/uses.py": dedent("""\
        from vllm_ascend.runner import Runner, pick


        def use(x, config):
            runner = Runner(config)
            return pick(x) + runner.step([1]) + runner.size + runner.late()
    """),
}
PICK = ("return x + 1", "return x + 2")
STEP = ("helpers.add(count, 1)", "helpers.add(count, 2)")
VALUE = ("LIMIT = 4", "LIMIT = 5")
KIND = ("KIND = 1", "KIND = 2")
LATE = ("return 5", "return 6")


def edited(text: str, *edits: tuple[str, str]) -> str:
    """A text with each of the edits made."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def verdict_of(
    folder: Path,
    *edits: tuple[str, str],
    base: str = BEFORE,
    release: Mapping[str, str] | None = None,
    upstream: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """The verdict of a change that edits RUNNER, and all that is said for it.

    ``base`` is RUNNER before the change, and on the release unless ``release`` has another. ``upstream`` are files
    that the tree of the change has besides.
    """
    before = {RUNNER: base, **(upstream or {})}
    after = {**before, RUNNER: edited(base, *edits)}
    result = carried(folder, {**RELEASE, RUNNER: base, **(release or {})}, before, after)
    return result.verdict, " ".join(str(each.as_json()["reason"]) for each in result.definitions)
