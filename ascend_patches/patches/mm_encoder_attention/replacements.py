"""What stands in place of MMEncoderAttention's methods, by the release that has them.

Where Python is only being recorded (a graph is captured, a compiler traces), the release's own code runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ascend_patches.basics.recording import being_recorded
from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_attention import Standing, as_before, forward, found_out, known_plan
from ascend_patches.npu.encoder_call import current_call
from ascend_patches.npu.host_lengths import announce
from ascend_patches.npu.neighbours import stands_for
from ascend_patches.patches.mm_encoder_attention.plans import Release, plan_of

if TYPE_CHECKING:
    import numpy as np

    # The release's own, which are here while the patch is applied.
    def upstream_forward_oot(layer: Any, *args: Any, **kwargs: Any) -> torch.Tensor: ...
    def upstream_init(layer: Any, *args: Any) -> None: ...


# vLLM without vllm-ascend: any out-of-tree platform may run this, so it serves only where torch_npu is.

BASE = Release(kernel=lambda: kernels.FLASH_ATTENTION_UNPAD)


def _op_is_there() -> bool:
    return kernels.available(kernels.FLASH_ATTENTION_UNPAD)


def forward_oot_of_vllm(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    if being_recorded() or not _op_is_there():
        return upstream_forward_oot(self, *args, **kwargs)
    return _forward_of_vllm(self, *args, **kwargs)


def _forward_of_vllm(
    layer: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None = None,
    max_seqlen: torch.Tensor | None = None,
    sequence_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    return forward(plan_of(layer, BASE), query, key, value, cu_seqlens, sequence_lengths)


def forward_oot_of_vllm_0_13(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    if being_recorded() or not _op_is_there():
        return upstream_forward_oot(self, *args, **kwargs)
    output = _forward_of_vllm(self, *args, **kwargs)
    # This release returns heads apart, whatever the form of its input.
    return output.view(*output.shape[:2], self.num_heads, self.head_size)


for _function in (forward_oot_of_vllm, forward_oot_of_vllm_0_13):
    stands_for(_function, Standing(partial(plan_of, release=BASE), _op_is_there))


# vllm-ascend


def _pads_in_0_13() -> bool:
    from vllm_ascend import envs

    return bool(envs.USE_OPTIMIZED_MODEL)


def _kernel_of_the_device() -> str:
    from vllm_ascend.utils import AscendDeviceType, get_ascend_device_type

    if get_ascend_device_type() == AscendDeviceType.A5:
        return kernels.FUSION_ATTENTION
    return kernels.FLASH_ATTENTION_UNPAD


def _encoder_graph_is_captured() -> bool:
    from vllm_ascend.worker.encoder_acl_graph import get_encoder_forward_context

    return bool(get_encoder_forward_context().capturing)


ASCEND_0_13 = Release(kernel=lambda: kernels.FLASH_ATTENTION_UNPAD, pads=_pads_in_0_13)
ASCEND_0_15 = Release(kernel=lambda: kernels.FLASH_ATTENTION_UNPAD)
ASCEND_0_18 = Release(kernel=lambda: kernels.FUSION_ATTENTION)
ASCEND_0_19 = Release(kernel=_kernel_of_the_device)
ASCEND_0_22 = Release(kernel=lambda: kernels.FUSED_INFER_ATTENTION, captures=_encoder_graph_is_captured)


def _forward_oot(release: Release) -> Callable[..., torch.Tensor]:
    def forward_oot(
        self: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seqlens: torch.Tensor | None = None,
        max_seqlen: torch.Tensor | None = None,
        sequence_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        output = as_before(known_plan(self), query, key, value, cu_seqlens, sequence_lengths)
        if output is not None:
            return output
        if being_recorded() or release.captures():
            # Before 0.16 it has no such parameter, and no caller gives it.
            given = () if sequence_lengths is None else (sequence_lengths,)
            return upstream_forward_oot(self, query, key, value, cu_seqlens, max_seqlen, *given)
        return found_out(plan_of(self, release), query, key, value, cu_seqlens, sequence_lengths)

    stands_for(forward_oot, Standing(partial(plan_of, release=release), lambda: not release.captures()))
    return forward_oot


forward_oot_0_13 = _forward_oot(ASCEND_0_13)
forward_oot_0_15 = _forward_oot(ASCEND_0_15)
forward_oot_0_18 = _forward_oot(ASCEND_0_18)
forward_oot_0_19 = _forward_oot(ASCEND_0_19)
forward_oot_0_22 = _forward_oot(ASCEND_0_22)


def init_0_15(
    self: Any,
    num_heads: int,
    head_size: int,
    scale: float | None = None,
    num_kv_heads: int | None = None,
    prefix: str = "",
) -> None:
    # Beside a vLLM other than 0.15.0, this release's constructor makes one number of all digits of the prefix and fails
    # where there are none. Nothing reads that number any more.
    upstream_init(self, num_heads, head_size, scale, num_kv_heads, "0")
    self.layer_name = prefix


def maybe_compute_seq_lens(
    cls: Any, attn_backend: Any, cu_seqlens: np.ndarray[Any, Any] | None, device: torch.device
) -> torch.Tensor | None:
    """The lengths stay on the host, where the attention needs them.

    Models pass on to every layer what they get. In an encoder call the attention knows the lengths without that, and a
    compiled block is spared one more tensor to be compiled for.
    """
    if cu_seqlens is None:
        return None
    lengths = cu_seqlens[1:] - cu_seqlens[:-1]
    if current_call() is None:
        return torch.from_numpy(lengths)
    announce(lengths.tolist())
    return None
