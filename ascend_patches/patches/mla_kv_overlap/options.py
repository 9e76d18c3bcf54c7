"""What the settings say about mla-kv-overlap. Imports no torch: the declaration uses it."""

from __future__ import annotations

from collections.abc import Mapping

from ascend_patches.declaring.patch import OptionValue


class MlaKvOverlapOptions:
    """The options of ``mla-kv-overlap`` that are in force in this process."""

    def __init__(self) -> None:
        self.prefetch = False

    def choose(self, options: Mapping[str, OptionValue]) -> None:
        self.prefetch = bool(options["prefetch"])


OPTIONS = MlaKvOverlapOptions()
