"""What stands in place of a release's methods gives way to the release where Python is only being recorded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from npu.attention_layers import Layer, inputs

import emulated_npu
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import known_lengths
from ascend_patches.patches.mm_encoder_attention import replacements as replacements
from ascend_patches.patches.mm_encoder_attention.declaration import PATCH
from ascend_patches.patches.mm_encoder_attention.options import OPTIONS

REPLACEMENTS = [
    replacements.forward_oot_of_vllm,
    replacements.forward_oot_0_13,
    replacements.forward_oot_0_15,
    replacements.forward_oot_0_18,
    replacements.forward_oot_0_19,
    replacements.forward_oot_0_22,
]


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose attention gives back the query, so that one sees who ran."""
    monkeypatch.setattr(
        replacements, "upstream_forward_oot", lambda self, query, *_, **__: query + self.head_size, raising=False
    )


@pytest.mark.parametrize("forward_oot", REPLACEMENTS)
def test_a_captured_graph_is_the_releases_own(forward_oot: Callable[..., torch.Tensor]) -> None:
    layer, given = Layer(), inputs(4)
    with torch.npu.graph(torch.npu.NPUGraph()):
        output = forward_oot(layer, given.query, given.key, given.value)
    assert torch.equal(output, given.query + layer.head_size)


@pytest.mark.parametrize("forward_oot", REPLACEMENTS)
def test_a_compiled_graph_is_the_releases_own_and_whole(forward_oot: Callable[..., torch.Tensor]) -> None:
    layer, query = Layer(), torch.randn(1, 4, 2, 72)

    @torch.compile(backend="eager", fullgraph=True)
    def block(x: torch.Tensor) -> torch.Tensor:
        return forward_oot(layer, query=x, key=x, value=x, cu_seqlens=None, max_seqlen=None) * 2

    assert torch.equal(block(query), (query + layer.head_size) * 2)


def test_without_torch_npu_an_out_of_tree_platform_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements.kernels, "available", lambda kernel: False)
    layer, query = Layer(), torch.randn(1, 4, 2, 72)
    assert torch.equal(replacements.forward_oot_of_vllm(layer, query, query, query), query + layer.head_size)


def test_vllm_0_13_gives_heads_apart_whatever_it_was_given() -> None:
    given = inputs(4)
    for name, tensor in vars(given).items():
        setattr(given, name, tensor.flatten(2))
    output = replacements.forward_oot_of_vllm_0_13(Layer(), given.query, given.key, given.value)
    assert output.shape == (1, 4, 2, 72)


@pytest.mark.parametrize("prefix", ["audio_tower.attn", "", "model.2.blocks.0.attn"])
def test_vllm_ascend_0_15_takes_any_prefix(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Constructed:
        layer_name: str
        given: tuple[Any, ...]

    def constructor(self: Any, num_heads: int, head_size: int, scale: Any, num_kv_heads: Any, prefix: str) -> None:
        self.index, self.given = int("".join(filter(str.isdigit, prefix))), (num_heads, head_size, scale, num_kv_heads)

    monkeypatch.setattr(replacements, "upstream_init", constructor, raising=False)
    layer = Constructed()
    replacements.init_0_15(layer, 4, 72, scale=0.5, num_kv_heads=2, prefix=prefix)
    assert (layer.layer_name, layer.given) == (prefix, (4, 72, 0.5, 2))


def test_lengths_for_the_layers_stay_on_the_host() -> None:
    boundaries = np.array([0, 5, 8, 8], dtype=np.int32)
    with emulated_npu.record() as log:
        lengths = replacements.maybe_compute_seq_lens(object, None, boundaries, torch.device("npu"))
    assert lengths is not None
    assert (lengths.tolist(), lengths.device.type) == ([5, 3, 0], "cpu")
    assert (log.device_to_host, log.host_to_device) == ([], [])


def test_in_an_encoder_call_layers_are_given_none_and_their_attention_knows_them() -> None:
    boundaries = np.array([0, 5, 8], dtype=np.int32)
    with encoder_call():
        given = replacements.maybe_compute_seq_lens(object, None, boundaries, torch.device("npu"))
        known = known_lengths(torch.from_numpy(boundaries).to("npu"), tokens=8)
    assert given is None
    assert known is not None
    assert known.values == (5, 3)


def test_without_boundaries_there_are_no_lengths() -> None:
    assert replacements.maybe_compute_seq_lens(object, None, None, torch.device("npu")) is None


def test_the_declaration_needs_no_torch() -> None:
    code = "import sys, ascend_patches.patches.mm_encoder_attention.declaration; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_options_reach_the_attention() -> None:
    assert PATCH.configure is not None
    PATCH.configure({"padding": 96, "kernel": "npu_fusion_attention"})
    assert (OPTIONS.padding, OPTIONS.kernel) == (96, "npu_fusion_attention")
