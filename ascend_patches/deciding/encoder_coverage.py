"""Which encoders of a release a set of decisions covers: one encoder call around all layers of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ascend_patches.deciding.decision import Decision
from ascend_patches.declaring.patch import Part, Rewrite
from ascend_patches.upstream.encoder_inventory import Definition, Encoder, Inventory
from ascend_patches.upstream.sources import Sources

_ATTENTION = "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention.forward_oot"


REASONS = {
    "vllm.model_executor.models.funasr:FunASRAudioAttention": (
        "its layers are given no boundaries: each audio is a row, and nothing is read"
    ),
    "vllm.model_executor.models.cohere_compass:Cohere_VisionTransformer": (
        "the first releases that have it name a transformers without its configuration, and nothing could be verified; "
        "with vllm-ascend it brings lengths that stay on the host"
    ),
    "vllm.model_executor.models.openpangu_vl:OpenPanguVisionTransformer": (
        "it refuses to be built unless the platform names FLASH_ATTN for encoders, and every released platform of an "
        "NPU names TORCH_SDPA"
    ),
    "vllm.models.minimax_m3.common.vision_tower:MiniMaxVLEncoder": (
        "its rotary tables are a kernel of Triton, so without vllm-ascend it runs on no NPU"
    ),
}
"""Why an encoder that no patch covers stays as it is."""


class Coverage(NamedTuple):
    """One encoder, and the parts of patches that are around its layers; without any it is open."""

    encoder: Encoder
    parts: tuple[tuple[str, str], ...]
    """The name of the patch and of the part."""

    @property
    def open(self) -> bool:
        return not self.parts

    @property
    def reason(self) -> str:
        """Why it stays open, where that is known."""
        return REASONS.get(str(self.encoder.stack), "")


def coverage(found: Inventory, decisions: Iterable[tuple[str, Decision]], code: Sources) -> list[Coverage]:
    """What becomes of each encoder, by the decisions about patches, each with the patch's name."""
    decisions = list(decisions)
    keeping = _keeping_lengths(decisions)
    parts = [
        (patch, part, {definition for rewrite in part.rewrites for definition in _definition(rewrite, code)})
        for patch, decision in decisions
        for part in _applied(decision)
    ]
    covered = [_of(encoder, parts) for encoder in found.encoders]
    return [Coverage(each.encoder, keeping) if each.open and each.encoder.brings_lengths else each for each in covered]


def _of(encoder: Encoder, parts: list[tuple[str, Part, set[Definition]]]) -> Coverage:
    around = {definition for ways in encoder.ways for way in ways for definition in way}
    serving = [(patch, part.name, opening & around) for patch, part, opening in parts if opening & around]
    if not encoder.covered_by({definition for _, _, opening in serving for definition in opening}):
        return Coverage(encoder, ())
    return Coverage(encoder, tuple(dict.fromkeys((patch, name) for patch, name, _ in serving)))


def _keeping_lengths(decisions: Iterable[tuple[str, Decision]]) -> tuple[tuple[str, str], ...]:
    """With vllm-ascend the lengths that a model brings stay on the host, and the patched attention takes these."""
    return tuple(
        (patch, "lengths that the model brings")
        for patch, decision in decisions
        for part in _applied(decision)
        if any(rewrite.target == _ATTENTION for rewrite in part.rewrites)
    )


def _applied(decision: Decision) -> tuple[Part, ...]:
    if decision.verdict != "apply" or decision.variant is None:
        return ()
    return decision.variant.parts


def _definition(rewrite: Rewrite, code: Sources) -> Iterator[Definition]:
    found = code.find(rewrite.target)
    if not isinstance(found, str):
        yield Definition(found.module, found.node.lineno)
