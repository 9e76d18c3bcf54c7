"""Whether what the patches of encoders do is of use here and now."""

from __future__ import annotations

import sys

import torch

from ascend_patches.basics.recording import being_recorded


def serves() -> bool:
    """Whether there is a torch_npu, Python is not being recorded, and torch computes in the types that it is given.

    Where it chooses types by the operator, what is computed on the host or by another operator has other bits.
    """
    return not being_recorded() and "torch_npu" in sys.modules and not torch._C._is_any_autocast_enabled()
