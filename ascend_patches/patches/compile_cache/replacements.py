"""Puts the identity of the active patches where vLLM makes the keys under which it keeps compiled graphs.

A graph holds what the replaced functions did when it was traced. vLLM's keys know its own version, the configuration
and upstream's files, and none of these changes when a patch is switched on or off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ascend_patches.declaring.process_identity import identity

if TYPE_CHECKING:
    # The release's own, which are here while the patch is applied.
    def upstream_factors(vllm_config: Any) -> list[str]: ...
    def upstream_compute_hash(manager: Any, vllm_config: Any) -> str: ...


NAME = "compile-cache"
"""The patch that this belongs to, which changes no graph itself."""


def hash_factors(vllm_config: Any) -> list[str]:
    """What a key is made of before anything is traced."""
    return [*upstream_factors(vllm_config), identity(NAME)]


def compute_hash(self: Any, vllm_config: Any) -> str:
    """The compiler's part of a key that is made after tracing."""
    return f"{upstream_compute_hash(self, vllm_config)} {identity(NAME)}"
