"""What stands in place of Qwen3OmniMoeAudioEncoder.forward: the lengths of recordings are read once, before it begins.

Upstream computes chunks, windows and what is padding on the device and reads each of these back. Here they follow on
the host from the lengths, and rows that are no padding are taken by their numbers instead of by a mask, whose size only
the device would know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence

from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.graph_capture import serves
from ascend_patches.npu.host_copies import to_device
from ascend_patches.npu.host_lengths import hand_over
from ascend_patches.npu.recordings import boundaries, halved, lengths_at_once, no_padding, pieces

if TYPE_CHECKING:
    # The release's own, which is here while the patch is applied.
    def upstream_forward(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...


_CONVOLUTIONS = 3


def forward(
    self: Any, input_features: torch.Tensor, feature_lens: torch.Tensor, aftercnn_lens: torch.Tensor
) -> torch.Tensor:
    if not serves():
        return upstream_forward(self, input_features, feature_lens, aftercnn_lens)
    with encoder_call():
        lengths = lengths_at_once(feature_lens, aftercnn_lens, input_features.device)
        if lengths is None:
            return upstream_forward(self, input_features, feature_lens, aftercnn_lens)
        return _forward(self, input_features, *lengths)


def _forward(model: Any, input_features: torch.Tensor, frames: Sequence[int], convolved: Sequence[int]) -> torch.Tensor:
    chunk = 2 * model.n_window
    chunks = pieces(frames, chunk)
    rows = halved(chunks, _CONVOLUTIONS)
    sequences = pieces(convolved, max(rows) * (model.n_window_infer // chunk))
    kept = torch.from_numpy(no_padding(rows).ravel().nonzero()[0])
    kept, cu_seqlens = to_device(input_features.device, kept, boundaries(sequences))
    hand_over(cu_seqlens, sequences)
    padded = pad_sequence(input_features.T.split(chunks, dim=0), batch_first=True).transpose(1, 2).unsqueeze(1)
    batch = model.conv_chunksize
    parts = [_convolve(model, part) for part in (padded.split(batch) if padded.size(0) > batch else [padded])]
    embedded = parts[0] if len(parts) == 1 else torch.cat(parts)
    count, channels, bins, time = embedded.size()
    embedded = model.conv_out(embedded.permute(0, 3, 1, 2).contiguous().view(count, time, channels * bins))
    places = model.positional_embedding.positional_embedding[:time, :].unsqueeze(0).to(embedded.dtype)
    hidden = (embedded + places).flatten(0, 1).index_select(0, kept)
    longest = model.compute_attn_mask_seqlen(cu_seqlens)
    for layer in model.layers:
        hidden = layer(hidden, cu_seqlens, longest)
    output: torch.Tensor = model.proj2(model.act(model.proj1(model.ln_post(hidden))))
    return output


def _convolve(model: Any, chunks: torch.Tensor) -> torch.Tensor:
    for convolution in (model.conv2d1, model.conv2d2, model.conv2d3):
        chunks = gelu(convolution(chunks))
    return chunks
