"""What stands in place of Qwen3_VisionTransformer.forward: one encoder call, whose lengths are known on the host.

Everything that layers have in common is made before the first; layers see [tokens, width], without a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_lengths import hand_over
from ascend_patches.npu.position_embeddings import Grid, interpolated

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


Boundaries = np.ndarray[Any, np.dtype[np.int32]]
Sequences = dict[str, Any]
"""What a release's blocks are told about sequences, by the names of their parameters."""


def forward_0_13(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, _cast(self, x), grid_thw, _sequences_0_13)


def forward_0_17(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, _cast(self, x), grid_thw, _sequences_0_17)


def forward_0_18(self: Any, x: torch.Tensor, grid_thw: torch.Tensor | list[list[int]]) -> torch.Tensor:
    if not _serves(self):
        return upstream_forward(self, x, grid_thw)
    return _forward(self, _cast(self, x), grid_thw, _sequences_0_18)


def forward_0_19(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    if encoder_metadata is not None or not _serves(self):
        return _with_metadata(self, x, grid_thw, encoder_metadata)
    return _forward(self, _cast(self, x), grid_thw, _sequences_0_18)


def forward_0_21(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    if encoder_metadata is not None or not _serves(self):
        return _with_metadata(self, x, grid_thw, encoder_metadata)
    return _forward(self, _cast(self, x), grid_thw, _sequences_0_21)


def forward_0_32(
    self: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    *,
    encoder_metadata: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    if encoder_metadata is not None or not _serves(self):
        return _with_metadata(self, x, grid_thw, encoder_metadata)
    normed = self.input_norm(x.to(device=self.device, non_blocking=True), self.dtype)
    return _forward(self, normed, grid_thw, _sequences_0_21)


def _with_metadata(
    model: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    encoder_metadata: dict[str, torch.Tensor] | None,
) -> torch.Tensor:
    """The release's own forward, as for encoder graphs; run eagerly, its layers still share what they read."""
    with encoder_call():
        return upstream_forward(model, x, grid_thw, encoder_metadata=encoder_metadata)


def _serves(model: Any) -> bool:
    # Blocks that vLLM compiles are the release's own, and so is what they are given.
    return serves() and getattr(model.blocks[0], "do_not_compile", True)


def _cast(model: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to(device=model.device, dtype=model.dtype, non_blocking=True)


def _forward(
    model: Any,
    x: torch.Tensor,
    grid_thw: torch.Tensor | list[list[int]],
    sequences_of: Callable[[Any, Boundaries], Sequences],
) -> torch.Tensor:
    grids = grid_thw if isinstance(grid_thw, list) else grid_thw.tolist()
    with encoder_call():
        hidden = model.patch_embed(x) + _positions(model, grids)
        cos, sin = model.rot_pos_emb(grids)
        lengths = [rows * columns for frames, rows, columns in grids for _ in range(frames)]
        sequences = sequences_of(model, np.cumsum([0, *lengths], dtype=np.int32))
        hand_over(sequences["cu_seqlens"], lengths)
        tapped = []
        for index, block in enumerate(model.blocks):
            hidden = block(hidden, rotary_pos_emb_cos=cos, rotary_pos_emb_sin=sin, **sequences)
            if index in model.deepstack_visual_indexes:
                merger = model.deepstack_merger_list[model.deepstack_visual_indexes.index(index)]
                tapped.append(merger(hidden))
        return torch.cat([model.merger(hidden), *tapped], dim=1)


def _positions(model: Any, grids: Sequence[Grid]) -> torch.Tensor:
    return interpolated(model.pos_embed.weight, model.num_grid_per_side, model.spatial_merge_size, model.dtype, grids)


def _sequences_0_13(model: Any, boundaries: Boundaries) -> Sequences:
    on_host = torch.from_numpy(boundaries)
    return {
        "max_seqlen": model.compute_attn_mask_seqlen(on_host),
        "cu_seqlens": on_host.to(model.device, non_blocking=True),
    }


def _sequences_0_17(model: Any, boundaries: Boundaries) -> Sequences:
    attention, backend = _attention(), model.attn_backend
    lengths = attention.maybe_compute_sequence_lengths(backend, boundaries)
    longest = attention.compute_max_seqlen(backend, boundaries)
    recomputed = attention.maybe_recompute_cu_seqlens(backend, boundaries, model.hidden_size, model.tp_size)
    return {
        "sequence_lengths": None if lengths is None else torch.from_numpy(lengths).to(model.device, non_blocking=True),
        "max_seqlen": torch.tensor(longest, dtype=torch.int32, device=model.device),
        "cu_seqlens": torch.from_numpy(recomputed).to(model.device, non_blocking=True),
    }


def _sequences_0_18(model: Any, boundaries: Boundaries, **more: Any) -> Sequences:
    attention, backend = _attention(), model.attn_backend
    return {
        "sequence_lengths": attention.maybe_compute_seq_lens(backend, boundaries, model.device),
        "max_seqlen": torch.tensor(attention.compute_max_seqlen(backend, boundaries), dtype=torch.int32),
        "cu_seqlens": attention.maybe_recompute_cu_seqlens(
            backend, boundaries, model.hidden_size, model.tp_size, model.device, **more
        ),
    }


def _sequences_0_21(model: Any, boundaries: Boundaries) -> Sequences:
    return _sequences_0_18(model, boundaries, fp8_padded_hidden_size=model.fp8_padded_hidden_size)


def _attention() -> Any:
    from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention

    return MMEncoderAttention
