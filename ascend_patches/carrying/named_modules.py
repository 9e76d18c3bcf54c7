"""Modules that code names in a text, to import them later: a release may have them elsewhere, or not at all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from ascend_patches.carrying.release_code import Code

_PATH = re.compile(r"\w+(\.\w+){2,}(:\w+(\.\w+)*)?")
"""Of two words it may be the name of an operator, such as ``vllm.moe_forward``."""


def texts_of(node: ast.AST) -> set[str]:
    """The texts in some code that may name modules."""
    constants = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {each for each in constants if isinstance(each, str) and _PATH.fullmatch(each)}


def unknown_modules(code: Code, texts: Iterable[str]) -> Iterator[str]:
    """Doubts about texts that are paths of the release's packages and lead to nothing there."""
    for text in sorted(texts):
        if code.is_ours(text) and not _leads_somewhere(code, text):
            yield f"it names {text!r}, and the release has no such module"


def _leads_somewhere(code: Code, text: str) -> bool:
    module, _, rest = text.partition(":")
    if rest:
        return code.path_of(module) is not None and code.lookup(module, rest.partition(".")[0]) is not None
    if code.path_of(module) is not None:
        return True
    parts = module.split(".")
    for count in range(len(parts) - 1, 0, -1):
        parent = ".".join(parts[:count])
        if code.path_of(parent) is not None:
            return code.lookup(parent, parts[count]) is not None
    folder = f"{module.replace('.', '/')}/"
    return any(path.startswith(folder) for path in code.paths())
