"""What a release needs beside itself to be imported on this machine: one file per shim, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from releases.pairs import Pair

# Which pairs each shim is for. The files are read only by the processes of a command, see start/sitecustomize.py.
WANTED: dict[str, Callable[[Pair], bool]] = {
    "emulated_npu": lambda pair: bool(pair.ascend),
    "build_info": lambda pair: pair.ascend_form.name == "SDIST",
    "torchvision_operators": lambda pair: True,
    "timm_names": lambda pair: not pair.vllm.startswith(("0.9.", "0.13.")),
    "avx512_query": lambda pair: pair.vllm.startswith(("0.16.", "0.17.")),
}


def names(pair: Pair) -> list[str]:
    """The shims of a pair, in the order in which they start."""
    return [name for name, wanted in WANTED.items() if wanted(pair)]
