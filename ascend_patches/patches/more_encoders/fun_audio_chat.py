"""What stands in place of FunAudioChatAudioEncoder.forward: the lengths of recordings are read once, before it begins.

Upstream reads them one by one, makes masks chunk by chunk and reads the lengths of chunks back. Here all of this
follows on the host from the lengths, and goes to the device in one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import avg_pool1d, gelu

from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import hand_over
from ascend_patches.npu.recordings import boundaries, halved, lengths_at_once, no_padding, pieces

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> Any: ...


_LONG = 7500
"""From so many tokens of speech on upstream asks for another attention first."""
_POOLED = 2


def forward(
    self: Any,
    input_features: torch.Tensor,
    feature_lens: torch.Tensor,
    aftercnn_lens: torch.Tensor,
    speech_maxlen: int,
    **kwargs: Any,
) -> Any:
    if not serves():
        return upstream_forward(self, input_features, feature_lens, aftercnn_lens, speech_maxlen, **kwargs)
    with encoder_call():
        longest = int(speech_maxlen)
        lengths = None if longest >= _LONG else lengths_at_once(feature_lens, aftercnn_lens, input_features.device)
        if lengths is None:
            return upstream_forward(self, input_features, feature_lens, aftercnn_lens, speech_maxlen, **kwargs)
        from transformers.modeling_outputs import BaseModelOutput

        pooled = _pooled(_encoded(self, input_features, *lengths, kwargs), lengths[1])
        return BaseModelOutput(last_hidden_state=_in_rows(_projected(self, pooled), longest))


def _encoded(
    model: Any,
    input_features: torch.Tensor,
    frames: Sequence[int],
    convolved: Sequence[int],
    more: dict[str, Any],
) -> torch.Tensor:
    """All recordings, one after the other."""
    chunks = pieces(frames, 2 * model.n_window)
    sequences = halved(chunks)
    sounding = torch.from_numpy(no_padding(chunks)).unsqueeze(1).to(model.dtype)
    kept = torch.from_numpy(no_padding(sequences).ravel().nonzero()[0])
    sounding, kept, cu_seqlens = to_device(input_features.device, sounding, kept, boundaries(sequences))
    hand_over(cu_seqlens, sequences)
    padded = torch.zeros(len(chunks), input_features.shape[0], max(chunks), dtype=model.dtype, device=kept.device)
    for row, chunk in zip(padded, input_features.split(chunks, dim=1), strict=True):
        row[:, : chunk.shape[1]] = chunk
    embedded = gelu(model.conv2(gelu(model.conv1(padded)) * sounding)).transpose(1, 2)
    places = model.positional_embedding.positional_embedding[: embedded.shape[1], :].unsqueeze(0).to(embedded.dtype)
    hidden = (embedded + places).flatten(0, 1).index_select(0, kept)
    for layer in model.layers:
        (hidden,) = layer(hidden, cu_seqlens=cu_seqlens, **more)
    return hidden


def _pooled(hidden: torch.Tensor, lengths: Sequence[int]) -> list[torch.Tensor]:
    """Each recording at half its rate; one of a single row stays as it is."""
    return [
        avg_pool1d(each.transpose(0, 1), kernel_size=_POOLED, stride=_POOLED).transpose(0, 1)
        if len(each) >= _POOLED
        else each
        for each in hidden.split(list(lengths))
    ]


def _projected(model: Any, recordings: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    projected: torch.Tensor = model.proj(model.ln_post(torch.cat(list(recordings))))
    parts: Sequence[torch.Tensor] = projected.split([len(each) for each in recordings])
    return parts


def _in_rows(recordings: Sequence[torch.Tensor], longest: int) -> torch.Tensor:
    """[recordings, longest, width]: what is longer is cut, what is shorter filled up."""
    first = recordings[0]
    rows = torch.zeros(len(recordings), longest, first.shape[-1], dtype=first.dtype, device=first.device)
    for row, recording in zip(rows, recordings, strict=True):
        row[: len(recording)] = recording[:longest]
    return rows
