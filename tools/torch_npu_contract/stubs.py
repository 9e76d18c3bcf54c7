"""Generates stand-ins for the libraries of CANN, so that torch_npu's libraries can be loaded without it.

They define what the real ones would, as functions that return 0. That is enough to register ops; computing needs the
real thing.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import CannotCheckError

_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
# Python's own symbols come from the interpreter that loads the library.
_OF_THE_INTERPRETER = ("Py", "_Py")
# Virtual tables and type information are data: large enough for whoever reads a field of them.
_DATA = "_ZT"


class Stubs(NamedTuple):
    """What was generated."""

    libraries: tuple[str, ...]
    symbols: tuple[str, ...]


def generate(libraries: Sequence[Path], present: Sequence[Path], folder: Path) -> Stubs:
    """Write into ``folder`` a stand-in for each library that ``libraries`` need and that is neither present nor found.

    ``present`` are libraries that the process will have loaded already: torch's.
    """
    ours = {path.name for path in (*libraries, *present)}
    needed = {name for library in libraries for name in _needed_libraries(library)}
    missing = tuple(sorted(name for name in needed - ours if not _is_found_by_the_loader(name)))
    defined = {symbol for path in (*libraries, *present) for symbol in _symbols(path, "--defined-only")}
    wanted = {symbol for path in libraries for symbol in _symbols(path, "--undefined-only")}
    # A version (memcpy@GLIBC_2.14) says that the symbol is from a system library.
    symbols = tuple(
        sorted(s for s in wanted - defined if "@" not in s and not s.startswith(_OF_THE_INTERPRETER)) if missing else ()
    )
    for number, name in enumerate(missing):
        # The loader looks in all of them, so it does not matter which one has the symbols.
        _compile(folder / name, symbols if number == 0 else ())
    return Stubs(missing, symbols)


def _needed_libraries(library: Path) -> list[str]:
    return _NEEDED.findall(_run("readelf", "--dynamic", "--wide", str(library)))


def _symbols(library: Path, which: str) -> set[str]:
    """Names without weak references, which may stay undefined."""
    lines = (line.split() for line in _run("nm", "--dynamic", which, str(library)).splitlines())
    return {_without_default_version(words[-1]) for words in lines if words and "w" not in words[:-1]}


def _without_default_version(symbol: str) -> str:
    return symbol.partition("@@")[0]


def _is_found_by_the_loader(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _compile(path: Path, symbols: Iterable[str]) -> None:
    source = "".join(
        f"char {symbol}[4096];\n" if symbol.startswith(_DATA) else f"long {symbol}(void) {{ return 0; }}\n"
        for symbol in symbols
    )
    command = ("gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", f"-Wl,-soname,{path.name}", "-o", str(path))
    _run(*command, input=source)


def _run(*command: str, input: str | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        ran = subprocess.run(command, input=input, env=environment, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise CannotCheckError(f"{command[0]} is not installed: it is in the package gcc or binutils.") from None
    except subprocess.CalledProcessError as error:
        raise CannotCheckError(f"{' '.join(command)} failed:\n{error.stderr.strip()}") from None
    return ran.stdout
