"""Ways to keep sequence lengths that give wrong results: the accuracy cases have to find each of them out."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from npu.attention_layers import Inputs, Layer

import ascend_patches.npu.encoder_attention as encoder_attention
from ascend_patches.npu.host_lengths import Lengths
from ascend_patches.patches.mm_encoder_attention.plans import plan_of


class _Caching(Layer):
    """A layer that asks a cache for its lengths, which all layers of its kind share."""

    kept: dict[Hashable, torch.Tensor]

    def forward(self, given: Inputs, cu_seqlens: torch.Tensor | None, **more: Any) -> torch.Tensor:
        batch, tokens = given.query.shape[:2]
        if cu_seqlens is None:
            cu_seqlens = torch.arange(0, (batch + 1) * tokens, tokens, dtype=torch.int32)
        lengths = self.lengths(cu_seqlens)
        if lengths.dtype != torch.int32:
            raise TypeError("the op takes lengths of int32")
        plan = plan_of(self, self.release)
        known = Lengths(lengths.tolist())
        return encoder_attention.attend(plan, given.query, given.key, given.value, known, known)

    def lengths(self, cu_seqlens: torch.Tensor) -> torch.Tensor:
        key = self.key(cu_seqlens)
        if key not in self.kept:
            self.kept[key] = self.read(cu_seqlens)
        return self.kept[key]

    def key(self, cu_seqlens: torch.Tensor) -> Hashable:
        raise NotImplementedError

    @staticmethod
    def read(cu_seqlens: torch.Tensor) -> torch.Tensor:
        return torch.diff(cu_seqlens).to("cpu")


class ByLayerIndex(_Caching):
    """One value, read by the layer whose number is 0 and used by every other layer."""

    kept: dict[Hashable, torch.Tensor] = {}  # noqa: RUF012

    def __init__(self, prefix: str = "visual.blocks.0.attn", **given: Any) -> None:
        super().__init__(prefix, **given)
        self.index = int("".join(letter for letter in prefix if letter.isdigit()))

    def lengths(self, cu_seqlens: torch.Tensor) -> torch.Tensor:
        if self.index == 0:
            self.kept["lengths"] = self.read(cu_seqlens)
        return self.kept["lengths"]


class ByShape(_Caching):
    """One value for each number of sequences."""

    kept: dict[Hashable, torch.Tensor] = {}  # noqa: RUF012

    def key(self, cu_seqlens: torch.Tensor) -> Hashable:
        return tuple(cu_seqlens.shape)


class ByAddress(_Caching):
    """One value for each place in memory."""

    kept: dict[Hashable, torch.Tensor] = {}  # noqa: RUF012

    def key(self, cu_seqlens: torch.Tensor) -> Hashable:
        return cu_seqlens.data_ptr()


class ByObject(_Caching):
    """One value for each tensor object, for ever."""

    kept: dict[Hashable, torch.Tensor] = {}  # noqa: RUF012
    alive: list[torch.Tensor] = []  # noqa: RUF012

    def key(self, cu_seqlens: torch.Tensor) -> Hashable:
        self.alive.append(cu_seqlens)
        return id(cu_seqlens)


CACHES = (ByLayerIndex, ByShape, ByAddress, ByObject)
