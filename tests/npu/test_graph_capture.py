"""When the patches of encoders leave everything to upstream."""

from __future__ import annotations

import torch

from ascend_patches.npu.graph_capture import serves


def test_they_serve_where_there_is_a_torch_npu() -> None:
    assert serves()


def test_where_torch_chooses_types_by_the_operator_upstream_computes() -> None:
    """What is computed by another operator, or on the host, would have other bits."""
    with torch.autocast("npu", dtype=torch.bfloat16):
        assert not serves()
    assert serves()
