"""The attention of vision blocks: the bits of the plain computation, with or without a plan to pad for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import emulated_npu
from ascend_patches.npu import vision_attention
from ascend_patches.npu.encoder_attention import forward
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import hand_over
from ascend_patches.patches.mm_encoder_attention.plans import Release, plan_of

TOKENS, HEADS, SIZE = 6, 2, 72
WIDTH = HEADS * SIZE
RELEASE = Release(kernel=lambda: "npu_fused_infer_attention_score")


class Attention:
    """As mm-encoder-attention makes of a release's attention; padded, for heads of this size."""

    scale, head_size, num_heads, num_kv_heads = 0.1, SIZE, HEADS, HEADS

    def __call__(self, query: Any, key: Any, value: Any, cu_seqlens: Any, max_seqlen: Any) -> torch.Tensor:
        return forward(plan_of(self, RELEASE), query, key, value, cu_seqlens)


class Layer:
    """As the releases' layers are made, but that the projections give back a part of what they are given."""

    num_attention_heads_per_partition, hidden_size_per_attention_head = HEADS, SIZE

    def __init__(self) -> None:
        self.attn = Attention()

    def qkv(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.cat((x, x + 1, x - 1), dim=-1), None

    def proj(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x * 2, None

    def apply_rotary_emb(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        return x * cos[:, None, :1]


def upstream(
    layer: Layer, x: torch.Tensor, *, rotary_pos_emb_cos: Any, rotary_pos_emb_sin: Any, **sequences: Any
) -> torch.Tensor:
    """[tokens, 1, width], plainly."""
    parts = layer.qkv(x.squeeze(1))[0].view(1, TOKENS, 3, HEADS, SIZE)
    cos = rotary_pos_emb_cos[None, :, None, :1]
    context = layer.attn(query=parts[:, :, 0] * cos, key=parts[:, :, 1] * cos, value=parts[:, :, 2], **sequences)
    return layer.proj(context.reshape(TOKENS, WIDTH))[0].unsqueeze(1)


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_attention, "upstream_forward", upstream, raising=False)


def arguments(dtype: torch.dtype) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(TOKENS, 1, WIDTH, generator=generator).to(dtype).to("npu"),
        "cu_seqlens": torch.tensor([0, 2, TOKENS], dtype=torch.int32).to("npu"),
        "rotary_pos_emb_cos": torch.rand(TOKENS, SIZE // 2, generator=generator).to(dtype).to("npu"),
        "rotary_pos_emb_sin": torch.rand(TOKENS, SIZE // 2, generator=generator).to(dtype).to("npu"),
        "max_seqlen": None,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_every_layer_of_a_call_has_the_bits_of_the_plain_computation(dtype: torch.dtype) -> None:
    layers, given = [Layer(), Layer()], arguments(dtype)
    expected = upstream(Layer(), **given).cpu()
    with encoder_call():
        # The first round makes the plans, the second suits them.
        for layer in layers * 2:
            assert torch.equal(vision_attention.forward_0_13(layer, **given).cpu(), expected)


@torch.inference_mode()
def test_input_without_a_batch_gives_output_without_one() -> None:
    given = arguments(torch.float32)
    with_batch = vision_attention.forward_0_13(Layer(), **given)
    without = vision_attention.forward_0_13(Layer(), **{**given, "x": given["x"].squeeze(1)})
    assert (with_batch.shape, without.shape) == ((TOKENS, 1, WIDTH), (TOKENS, WIDTH))
    assert torch.equal(with_batch.squeeze(1).cpu(), without.cpu())


@torch.inference_mode()
def test_a_layer_with_a_plan_moves_its_heads_in_three_copies() -> None:
    layer, given = Layer(), arguments(torch.bfloat16)
    with encoder_call():
        hand_over(given["cu_seqlens"], [2, TOKENS - 2])
        for _ in range(2):
            vision_attention.forward_0_13(layer, **given)
        with emulated_npu.record() as log:
            vision_attention.forward_0_13(layer, **given)
    assert (log.by_operator["aten::copy_"], log.by_operator["aten::constant_pad_nd"]) == (3, 0)
    assert log.device_to_host == []


@torch.inference_mode()
def test_with_gradients_nothing_is_shared_between_layers() -> None:
    layer, given = Layer(), arguments(torch.float32)
    with torch.inference_mode(False), torch.enable_grad(), encoder_call() as call:
        copied = {name: None if value is None else value.clone() for name, value in given.items()}
        for _ in range(2):
            vision_attention.forward_0_13(layer, **copied)
        assert not any("query" in str(key[0]) for key in call.buffers)


@torch.inference_mode()
def test_a_compiler_sees_the_release_s_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(layer: Layer, x: torch.Tensor, **_: Any) -> torch.Tensor:
        assert x.dim() == 3
        return x * 3

    monkeypatch.setattr(vision_attention, "upstream_forward", plain)
    layer = Layer()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: vision_attention.forward_0_13(layer, x, None, None, None, None), backend="eager", fullgraph=True
    )
    for shape in ((4, 1, WIDTH), (4, WIDTH)):
        assert torch.equal(compiled(torch.ones(shape)), torch.full(shape, 3.0))


class Block:
    """A block whose attention is of a class with this forward."""

    def __init__(self, forward: Any) -> None:
        self.attn = type("Attention", (), {"forward": forward})()


def test_blocks_get_no_batch_where_all_their_attention_is_done_here() -> None:
    hidden = torch.zeros(TOKENS, WIDTH)
    assert vision_attention.for_blocks(hidden, [Block(vision_attention.forward_0_17)] * 2) is hidden


@pytest.mark.parametrize("other", [upstream, len])
def test_blocks_get_a_batch_of_one_where_anything_else_is_in_place(other: Any) -> None:
    blocks = [Block(vision_attention.forward_0_17), Block(other)]
    assert vision_attention.for_blocks(torch.zeros(TOKENS, WIDTH), blocks).shape == (TOKENS, 1, WIDTH)
