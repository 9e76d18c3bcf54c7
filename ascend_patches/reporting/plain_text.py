"""Text of others made harmless: what steers a terminal or hides from a reader is written out instead."""

from __future__ import annotations

import unicodedata

# Control and format characters (bidirectional overrides among them), lone surrogates, line and paragraph separators.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def one_line(text: str) -> str:
    """A text in which every character that is not for reading is written as its escape, line ends included."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_harmless, text))


def lines(text: str) -> str:
    """The same for text of several lines: line ends and tabs stay."""
    return "".join(part if part in ("\n", "\t") else one_line(part) for part in _parts(text))


def _parts(text: str) -> list[str]:
    if "\t" not in text and "\n" not in text:
        return [text]
    found = [""]
    for character in text:
        if character in "\n\t":
            found += [character, ""]
        else:
            found[-1] += character
    return found


def _harmless(character: str) -> str:
    if unicodedata.category(character) not in _HARMFUL:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
