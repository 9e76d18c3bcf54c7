"""When the pairs of times of two sides say enough: the ratio is worked out as ``ascend-patches bench`` does."""

from __future__ import annotations

from ascend_patches.commands.pair_ratio import Ratio, of_pairs

__all__ = ["LEAST_PAIRS", "Ratio", "of_pairs"]

LEAST_PAIRS = 8
"""Fewer have no bounds worth the name."""
