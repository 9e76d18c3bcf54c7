"""A device that does nothing: kernels work out a shape, allocate and return, so that the host's time is left."""

from __future__ import annotations

from ._building import CannotBuildError
from ._null_torch import Counts, begin, counts, install, installed, set_costs, without_rule

__all__ = ["install", "installed", "begin", "counts", "Counts", "set_costs", "without_rule", "CannotBuildError"]
