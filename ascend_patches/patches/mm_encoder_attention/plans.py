"""The plan of a layer: what its release does, and what the settings choose on top.

A plan is made when its layer is first used and not in the constructor, so that layers which existed before the patch
have one too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ascend_patches.basics.recording import being_recorded
from ascend_patches.declaring import first_call
from ascend_patches.npu.encoder_attention import Plan, keep_plan, known_plan
from ascend_patches.patches.mm_encoder_attention.options import AS_UPSTREAM, OFF, OPTIONS

PADDED_ABOVE = 64
PADDED_SIZE = 128
"""Between these sizes releases pad heads: the fused ops are documented for 128, and slow or refusing in between."""


class Release(NamedTuple):
    """What a release does, which is what ``as-upstream`` means there."""

    kernel: Callable[[], str]
    pads: Callable[[], bool] = lambda: True
    captures: Callable[[], bool] = lambda: False
    """Whether an encoder graph is being captured, for which the release has a way of its own."""


def plan_of(layer: Any, release: Release) -> Plan:
    """The plan of a layer, which it keeps."""
    plan = known_plan(layer)
    if plan is None:
        if not being_recorded():
            first_call.happens()
        plan = _made(layer, release)
        keep_plan(layer, plan)
    return plan


def _made(layer: Any, release: Release) -> Plan:
    size: int = layer.head_size
    return Plan(
        kernel=release.kernel() if OPTIONS.kernel == AS_UPSTREAM else OPTIONS.kernel,
        scale=layer.scale if layer.scale is not None else size**-0.5,
        heads=layer.num_heads,
        kv_heads=layer.num_kv_heads,
        head_size=size,
        padded_size=max(size, _padded_size(size, release)),
    )


def _padded_size(size: int, release: Release) -> int:
    if OPTIONS.padding == OFF:
        return size
    if OPTIONS.padding != AS_UPSTREAM:
        return int(OPTIONS.padding)
    return PADDED_SIZE if PADDED_ABOVE < size < PADDED_SIZE and release.pads() else size
