"""The checks of ``compile-cache``: none, because nothing that a model computes goes through it.

Whether a kept graph is found again is tested with vLLM's own cache, on graphs that it compiled.
"""

from __future__ import annotations

from ascend_patches.checks.check import Check

CHECKS: tuple[Check, ...] = ()
