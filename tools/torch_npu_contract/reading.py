"""Reads op schemas out of a torch_npu wheel without loading it.

Schemas are string constants of the libraries that register them. A compiler for x86_64 may spread such a constant over
the code that uses it (in 2.7.1 and 2.13.0 some are); one for aarch64 leaves it whole.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from . import schema
from .errors import CannotCheckError

NAMESPACE_OF = {"torch_npu/lib/libtorch_npu.so": "npu", "torch_npu/lib/libop_plugin_atb.so": "atb"}
_CONSTANT = re.compile(rb"(?<=\0)((?:\w+::)?\w+(?:\.\w+)?\s*\([\t\n\x20-\x7e]*\)\s*->[\t\n\x20-\x7e]+)(?=\0)")


def schemas_in(wheel: Path) -> dict[str, str]:
    """Every schema of the wheel: ``"npu::npu_rotary_mul"`` -> its text, verbatim but for line breaks."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for library, namespace in NAMESPACE_OF.items():
            try:
                content = archive.read(library)
            except KeyError:
                raise CannotCheckError(f"{wheel} has no {library}: is it a wheel of torch_npu?") from None
            found |= schemas_of_library(content, namespace)
    return found


def schemas_of_library(content: bytes, namespace: str) -> dict[str, str]:
    """The schemas among a library's string constants."""
    found = {}
    for constant in _CONSTANT.findall(content):
        text = " ".join(constant.decode("ascii").split())
        prefix, separator, bare = text.rpartition("::") if "::" in text.partition("(")[0] else ("", "", text)
        try:
            op = schema.parse(bare).op
        except ValueError:
            continue
        found[f"{prefix if separator else namespace}::{op}"] = bare
    return found
