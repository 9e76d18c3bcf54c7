"""Imports the names it is given; run on a pair, in a process of its own.

``package=version`` asserts the version of a package and ``module:attribute`` that a module has an attribute.
"""

from __future__ import annotations

import importlib
import sys


def main(words: list[str]) -> None:
    for word in words:
        package, is_version, version = word.partition("=")
        if is_version:
            found = importlib.import_module(package).__version__
            if found != version:
                raise SystemExit(f"{package} is {found} instead of {version}")
            continue
        module, _, attribute = word.partition(":")
        imported = importlib.import_module(module)
        if attribute and not hasattr(imported, attribute):
            raise SystemExit(f"{module} has no {attribute}")


main(sys.argv[1:])
