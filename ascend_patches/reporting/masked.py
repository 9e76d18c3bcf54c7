"""Command lines without the secrets in them: keys, tokens, passwords, credentials in addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MASK = "***"

_SECRET = frozenset(
    {
        *("apikey", "auth", "authorization", "bearer", "cookie", "cookies", "cred", "creds", "credential"),
        *("credentials", "jwt", "key", "keys", "pass", "passcode", "passphrase", "passwd", "password", "passwords"),
        *("pat", "pin", "pwd", "sas", "secret", "secrets", "sig", "signature", "token"),
    }
)
"""Words that make the name of an option, a variable or a header the name of a secret."""

# Names such as max-num-batched-tokens and long-prefill-token-threshold count tokens of text.
_COUNTS = frozenset(
    {"as", "budget", "count", "id", "ids", "length", "limit", "max", "min", "num", "number", "per", "size", "threshold"}
)
_SECRET_TOKENS = frozenset({"access", "api", "auth", "bearer", "hf", "refresh", "secret"})
_PATHS = frozenset({"dir", "file", "filename", "folder", "path"})
_SEVERAL = frozenset({"key", "keys", "apikey"})

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_ASSIGNED = re.compile(r"-{0,2}[A-Za-z_][\w.-]*=")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]*@")
_SCHEME = re.compile(r"\b(bearer|basic|digest|token)(\s+)[^\s\"',]+", re.IGNORECASE)
_NAME = re.compile(r"""["']?([A-Za-z_][\w.-]*)["']?\s*[=:]\s*""")
_VALUE = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"',;&}\]]+""")
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{12,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}"
    r"|xox[abprs]-[A-Za-z0-9-]{8,}|A[KS]IA[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
"""What some services' keys look like, wherever they stand."""


def masked(command: Iterable[str]) -> list[str]:
    """A command line with a mask in place of every secret; nothing else is changed."""
    return list(_masked(list(command)))


def _masked(command: list[str]) -> Iterator[str]:
    owed = several = False
    """Whether the argument is the value of a secret option, and whether that option takes more than one."""
    for argument in command:
        if owed and not argument.startswith("--"):
            yield MASK
            owed = several
            continue
        if several and not _OPTION.match(argument):
            yield MASK
            continue
        owed = several = False
        if _OPTION.fullmatch(argument):
            owed = is_secret(argument)
            several = owed and bool(_SEVERAL & set(_words(argument)))
            yield argument
        else:
            yield text(argument)


def text(argument: str) -> str:
    """One argument: an option with its value, a variable, a header, an address, JSON; or a text that holds any."""
    place = 0
    while (name := _ASSIGNED.match(argument, place)) is not None:
        place = name.end()
        if is_secret(name[0]) and place < len(argument):
            return argument[:place] + MASK
    argument = _ADDRESS.sub(rf"\1{MASK}@", argument)
    header = re.match(r"([A-Za-z][\w-]*:)\s*\S", argument)
    if header is not None and is_secret(header[1]) and "://" not in argument:
        return f"{header[1]} {MASK}"
    argument = _SCHEME.sub(rf"\1\2{MASK}", argument)
    return _SHAPES.sub(MASK, _without_named(argument))


def _without_named(argument: str) -> str:
    """A text without the values that a name in front of them gives away: NAME=VALUE, "NAME": "VALUE"."""
    done, place = "", 0
    while (name := _NAME.search(argument, place)) is not None:
        done += argument[place : name.end()]
        place = name.end()
        value = _VALUE.match(argument, place) if is_secret(name[1]) else None
        if value is not None:
            quote = value[0][0] if value[0][0] in "\"'" else ""
            done += f"{quote}{MASK}{quote}"
            place = value.end()
    return done + argument[place:]


def is_secret(name: str) -> bool:
    """Whether the value of this name is a secret."""
    words = _words(name)
    if words and words[-1] in _PATHS:
        return False
    if {"token", "tokens"} & set(words):
        if _SECRET_TOKENS & set(words):
            return True
        if _COUNTS & set(words):
            return False
    return bool(_SECRET & set(words))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]
