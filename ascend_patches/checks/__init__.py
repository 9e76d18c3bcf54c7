"""What patches have to keep: their cases, how these are run, and how far results may be from each other."""

from ascend_patches.checks.check import Call, Check
from ascend_patches.declaring.tolerance import Tolerance

__all__ = ["Call", "Check", "Tolerance"]
