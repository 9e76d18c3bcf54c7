"""A patch that is wrong on purpose: sequence lengths kept by the number of a layer, as vllm-ascend #6448 kept them."""

from __future__ import annotations

from typing import Any

from ascend_patches import Patch, Rewrite, Variant, installed

TARGET = "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention.forward_oot"
_KEPT: dict[str, Any] = {}


def forward_oot(self: Any, *args: Any, **kwargs: Any) -> Any:
    number = int("".join(letter for letter in self.layer_name if letter.isdigit()))
    if number == 0:
        _KEPT["cu_seqlens"] = kwargs["cu_seqlens"]
    # The first layer looks at windows; those that look at whole frames get its windows as well.
    return self.forward_native(*args, **{**kwargs, "cu_seqlens": _KEPT["cu_seqlens"]})


PATCH = Patch(
    name="layer-index-lengths",
    summary="sequence lengths read by the first layer and kept for all others",
    variants=(Variant("any", installed("vllm"), (Rewrite(TARGET, replace=forward_oot),)),),
)
