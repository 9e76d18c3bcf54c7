"""Whether what the patches of encoders do is of use here and now."""

from __future__ import annotations

import sys

from ascend_patches.basics.recording import being_recorded


def serves() -> bool:
    """Whether there is a torch_npu, and Python is not being recorded."""
    return not being_recorded() and "torch_npu" in sys.modules
