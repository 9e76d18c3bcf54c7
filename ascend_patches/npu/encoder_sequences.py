"""The arguments that tell blocks of an encoder its sequences, computed on the host, in the style of each release.

The names are those of the blocks' parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ascend_patches.npu.host_lengths import hand_over

Boundaries = np.ndarray[Any, np.dtype[np.int32]]
Arguments = dict[str, Any]
Style = Callable[[Any, Boundaries, torch.device], Arguments]

_HOST = torch.device("cpu")


def block_arguments(model: Any, lengths: Sequence[int], style: Style) -> Arguments:
    """The arguments for sequences of these lengths; the attention knows these without asking the device."""
    sequences = style(model, _boundaries(lengths), model.device)
    hand_over(sequences["cu_seqlens"], lengths)
    return sequences


def on_host(model: Any, lengths: Sequence[int], style: Style) -> Arguments:
    """The same, with a ``cu_seqlens`` that has yet to be copied to the device, and the lengths to be handed over."""
    return style(model, _boundaries(lengths), _HOST)


def _boundaries(lengths: Sequence[int]) -> Boundaries:
    return np.cumsum([0, *lengths], dtype=np.int32)


def as_in_0_13(model: Any, boundaries: Boundaries, device: torch.device) -> Arguments:
    of_host = torch.from_numpy(boundaries)
    return {
        "max_seqlen": model.compute_attn_mask_seqlen(of_host),
        "cu_seqlens": of_host.to(device, non_blocking=True),
    }


def as_in_0_17(model: Any, boundaries: Boundaries, device: torch.device) -> Arguments:
    attention, backend = encoder_attention(), model.attn_backend
    lengths = attention.maybe_compute_sequence_lengths(backend, boundaries)
    longest = attention.compute_max_seqlen(backend, boundaries)
    recomputed = attention.maybe_recompute_cu_seqlens(backend, boundaries, model.hidden_size, model.tp_size)
    return {
        "sequence_lengths": None if lengths is None else torch.from_numpy(lengths).to(model.device, non_blocking=True),
        "max_seqlen": torch.tensor(longest, dtype=torch.int32, device=model.device),
        "cu_seqlens": torch.from_numpy(recomputed).to(device, non_blocking=True),
    }


def as_in_0_18(model: Any, boundaries: Boundaries, device: torch.device) -> Arguments:
    attention, backend = encoder_attention(), model.attn_backend
    # Models have these from 0.21 on.
    more = {name: getattr(model, name) for name in ("fp8_padded_hidden_size",) if hasattr(model, name)}
    return {
        "sequence_lengths": attention.maybe_compute_seq_lens(backend, boundaries, model.device),
        "max_seqlen": torch.tensor(attention.compute_max_seqlen(backend, boundaries), dtype=torch.int32, device="cpu"),
        "cu_seqlens": attention.maybe_recompute_cu_seqlens(
            backend, boundaries, model.hidden_size, model.tp_size, device, **more
        ),
    }


def encoder_attention() -> Any:
    """The class whose hooks models ask, of which a platform may have its own."""
    from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention

    return MMEncoderAttention
