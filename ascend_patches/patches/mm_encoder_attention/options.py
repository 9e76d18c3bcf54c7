"""What the settings say about encoder attention, for the code that does it. Imports no torch: declarations use it."""

from __future__ import annotations

from collections.abc import Mapping

from ascend_patches.declaring.patch import OptionValue

AS_UPSTREAM = "as-upstream"
OFF = "off"


class AttentionOptions:
    """The options of ``mm-encoder-attention`` that are in force in this process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.padding: OptionValue = AS_UPSTREAM
        self.kernel: str = AS_UPSTREAM

    def choose(self, options: Mapping[str, OptionValue]) -> None:
        self.padding = options["padding"]
        self.kernel = str(options["kernel"])


OPTIONS = AttentionOptions()
