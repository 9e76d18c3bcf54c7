"""MLA decode with the keys' and values' work on a second stream, beside the projection and rotation of the query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from vllm_ascend.attention.mla_v1 import AscendMLAImpl, DecodeMLAPreprocessResult

from ascend_patches.basics.recording import being_recorded
from ascend_patches.declaring import first_call
from ascend_patches.npu.mla_prefetch import LARGEST_OUTPUT_PROJECTION, prefetch
from ascend_patches.patches.mla_kv_overlap.options import OPTIONS

if TYPE_CHECKING:

    def upstream_preprocess(impl: Any, *args: Any) -> Any: ...
    def upstream_v_up_proj(impl: Any, x: torch.Tensor) -> torch.Tensor: ...


def preprocess_decode(self: Any, q_c: Any, kv_no_split: Any, kv_cache: Any, attn_metadata: Any) -> Any:
    if not _overlaps(self):
        return upstream_preprocess(self, q_c, kv_no_split, kv_cache, attn_metadata)
    return _preprocess(self, q_c, kv_no_split, kv_cache, attn_metadata)


def preprocess_decode_or_take_written(
    self: Any, q_c: Any, kv_no_split: Any, kv_cache: Any, attn_metadata: Any, written_kv: Any = None
) -> Any:
    # What has been written already leaves nothing to do beside the query.
    if written_kv is not None or not _overlaps(self):
        return upstream_preprocess(self, q_c, kv_no_split, kv_cache, attn_metadata, written_kv)
    return _preprocess(self, q_c, kv_no_split, kv_cache, attn_metadata)


def _overlaps(impl: Any) -> bool:
    """Whether this is plain decode: context parallelism is a subclass or a switch, a quantised cache scales queries."""
    plain = type(impl) is AscendMLAImpl
    return plain and not getattr(impl, "pcp_enabled", False) and not getattr(impl, "fa_quant_layer", False)


def _preprocess(impl: Any, q_c: Any, kv_no_split: Any, kv_cache: Any, attn_metadata: Any) -> Any:
    tokens = attn_metadata.num_decode_tokens
    cos, sin = attn_metadata.decode.cos, attn_metadata.decode.sin
    kv, slots = kv_no_split[:tokens], attn_metadata.slot_mapping[:tokens]
    with _second_stream_joined() as second:
        _keep_for(second, kv, cos, sin, slots)
        with torch.npu.stream(second):
            k_pe, k_nope = impl.exec_kv_decode(kv, cos, sin, kv_cache, slots)
        q_nope, q_pe = impl._q_proj_and_k_up_proj(q_c[:tokens])
        q_nope, q_pe = impl.reorg_decode_q(q_nope, q_pe)
        q_pe = impl.rope_single(q_pe, cos, sin)
    _keep_for(torch.npu.current_stream(), k_pe, k_nope)
    return DecodeMLAPreprocessResult(q_nope, q_pe, k_nope, k_pe)


@contextmanager
def _second_stream_joined() -> Iterator[Any]:
    """The second stream, which starts with what the current one has done and is waited for at the end, come what may.

    A graph that is being captured takes the second stream in by the first event, and must not end without the second.
    """
    main, second = torch.npu.current_stream(), second_stream_of(torch.npu.current_device())
    second.wait_event(main.record_event())
    try:
        yield second
    finally:
        main.wait_event(second.record_event())


@cache
def second_stream_of(device: int) -> Any:
    """The one second stream of the current device: all layers share it, as they share the first."""
    if not being_recorded():
        first_call.happens()
    return torch.npu.Stream()


def _keep_for(stream: Any, *tensors: torch.Tensor | None) -> None:
    """Keep the memory of tensors from being used again before a stream is done with them."""
    # The memory of a captured graph is its own, and the streams have joined before anything of it is given back; what
    # is recorded for a stream would stay taken until the capture is over.
    if being_recorded():
        return
    for tensor in tensors:
        if tensor is not None and tensor.device.type != "cpu":
            tensor.record_stream(stream)


def v_up_proj(self: Any, x: torch.Tensor) -> torch.Tensor:
    values = upstream_v_up_proj(self, x)
    if OPTIONS.prefetch and type(self) is AscendMLAImpl:
        prefetch(self.o_proj.weight, values, LARGEST_OUTPUT_PROJECTION)
    return values
