"""Which files of a tree have a word: looked through while few are asked for, known for all words from then on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_ASKED = 100
_WORD = re.compile(r"\w+")


class Words:
    """The words of some files."""

    def __init__(self, paths: Sequence[str], text: Callable[[str], str]) -> None:
        self._paths = paths
        self._text = text
        self._asked = 0
        self._known: dict[str, list[str]] | None = None

    def files_with(self, text: str) -> list[str]:
        """The files that have a text, in the order of the tree."""
        if self._known is None and self._asked < _ASKED:
            self._asked += 1
            whole = [re.compile(rf"(?<!\w){word}(?!\w)") for word in _WORD.findall(text)]
            there = [path for path in self._paths if text in self._text(path)]
            return [path for path in there if all(word.search(self._text(path)) for word in whole)]
        known = self.know_all()
        rarest = min((known.get(each, []) for each in _WORD.findall(text)), key=len, default=list(self._paths))
        return [path for path in rarest if text in self._text(path)]

    def know_all(self) -> dict[str, list[str]]:
        """The files of every word: to be asked for first where many changes are looked at."""
        if self._known is None:
            found: dict[str, list[str]] = {}
            for path in self._paths:
                for word in set(_WORD.findall(self._text(path))):
                    found.setdefault(word, []).append(path)
            self._known = found
        return self._known
