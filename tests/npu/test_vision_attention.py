"""The attention of vision blocks: the bits of the plain computation, whatever is shared between layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from npu.custom_ops import HEADS, SIZE, ApplyRotaryEmb, attention_of, custom_ops  # noqa: F401

import emulated_npu
from ascend_patches.npu import vision_attention
from ascend_patches.npu.attention_kernels import FLASH_ATTENTION_UNPAD, FUSED_INFER_ATTENTION, KERNELS
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import hand_over

pytestmark = pytest.mark.usefixtures("custom_ops")
TOKENS = 6
SIZES = (64, SIZE, 128)


class Projection(torch.nn.Module):
    def __init__(self, project: Any) -> None:
        super().__init__()
        self.project = project

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.project(x), None


class Layer(torch.nn.Module):
    """As the releases' layers are made, but that the projections give back a part of what they are given."""

    num_attention_heads_per_partition = HEADS

    def __init__(self, kernel: str = FUSED_INFER_ATTENTION, size: int = SIZE) -> None:
        super().__init__()
        self.hidden_size_per_attention_head = size
        self.attn = attention_of(kernel, size=size)
        self.apply_rotary_emb = ApplyRotaryEmb()
        self.qkv = Projection(lambda x: torch.cat((x, x + 1, x - 1), dim=-1))
        self.proj = Projection(lambda x: x * 2)


def upstream(
    layer: Any, x: torch.Tensor, *, rotary_pos_emb_cos: Any, rotary_pos_emb_sin: Any, **sequences: Any
) -> torch.Tensor:
    """[tokens, 1, width], plainly: in copies, and by calls of the submodules."""
    parts = layer.qkv(x.squeeze(1))[0].view(1, TOKENS, 3, HEADS, -1)
    query, key, value = (part.contiguous() for part in parts.unbind(2))
    query, key = (layer.apply_rotary_emb(each, rotary_pos_emb_cos, rotary_pos_emb_sin) for each in (query, key))
    context = layer.attn(query=query, key=key, value=value, **sequences)
    output: torch.Tensor = layer.proj(context.reshape(TOKENS, -1))[0].unsqueeze(1)
    return output


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_attention, "upstream_forward", upstream, raising=False)


def arguments(dtype: torch.dtype, size: int = SIZE) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(TOKENS, 1, HEADS * size, generator=generator).to(dtype).to("npu"),
        "cu_seqlens": torch.tensor([0, 2, TOKENS], dtype=torch.int32).to("npu"),
        "rotary_pos_emb_cos": torch.rand(TOKENS, size // 2, generator=generator).to(dtype).to("npu"),
        "rotary_pos_emb_sin": torch.rand(TOKENS, size // 2, generator=generator).to(dtype).to("npu"),
        "max_seqlen": None,
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_every_layer_of_a_call_has_the_bits_of_the_plain_computation(
    kernel: str, size: int, dtype: torch.dtype
) -> None:
    given = arguments(dtype, size)
    expected = upstream(Layer(kernel, size), **given).cpu()
    one = Layer(kernel, size)
    with encoder_call():
        for _ in range(3):
            assert torch.equal(vision_attention.forward_0_13(one, **given).cpu(), expected)
        assert (one.attn.calls, one.apply_rotary_emb.calls) == (0, 2)


@torch.inference_mode()
def test_input_without_a_batch_gives_output_without_one() -> None:
    given = arguments(torch.float32)
    with_batch = vision_attention.forward_0_13(Layer(), **given)
    without = vision_attention.forward_0_13(Layer(), **{**given, "x": given["x"].squeeze(1)})
    assert (with_batch.shape, without.shape) == ((TOKENS, 1, HEADS * SIZE), (TOKENS, HEADS * SIZE))
    assert torch.equal(with_batch.squeeze(1).cpu(), without.cpu())


@pytest.mark.parametrize("kernel", [FLASH_ATTENTION_UNPAD, FUSED_INFER_ATTENTION])
@torch.inference_mode()
def test_a_later_layer_is_one_rotation_three_copies_and_the_op(kernel: str) -> None:
    layer, given = Layer(kernel), arguments(torch.bfloat16)
    with encoder_call():
        hand_over(given["cu_seqlens"], [2, TOKENS - 2])
        vision_attention.forward_0_13(layer, **given)
        with emulated_npu.record() as log:
            vision_attention.forward_0_13(layer, **given)
    ours = log.kernels - 4  # of the two projections
    # Two more copy strided inputs: the heads that are rotated, and the value.
    assert (log.by_operator["aten::copy_"], log.by_operator["npu::npu_rotary_mul"], ours) == (3, 1, 5 + 2)
    assert log.device_to_host == []


# When a layer goes the general way


def other_cos(layer: Any, given: dict[str, Any]) -> None:
    given["rotary_pos_emb_cos"] = given["rotary_pos_emb_cos"] * 2


def other_sequences(layer: Any, given: dict[str, Any]) -> None:
    given["cu_seqlens"] = torch.tensor([0, 3, TOKENS], dtype=torch.int32).to("npu")


def another_scale(layer: Any, given: dict[str, Any]) -> None:
    layer.attn.scale = 0.3


def hook_on_attention(layer: Any, given: dict[str, Any]) -> None:
    layer.attn.register_forward_hook(lambda _module, _args, output: output * 3)


def hook_on_rotation(layer: Any, given: dict[str, Any]) -> None:
    layer.apply_rotary_emb.register_forward_hook(lambda _module, _args, output: output * 3)


def neighbours_turned(layer: Any, given: dict[str, Any]) -> None:
    layer.apply_rotary_emb.is_neox_style = False


def foreign_attention(layer: Any, given: dict[str, Any]) -> None:
    layer.attn._forward_method = lambda query, key, value, **_: value * 5


def foreign_rotation(layer: Any, given: dict[str, Any]) -> None:
    layer.apply_rotary_emb._forward_method = lambda x, cos, sin: x * 5


def rotation_in_float32(layer: Any, given: dict[str, Any]) -> None:
    layer.apply_rotary_emb.enable_fp32_compute = True


def another_type(layer: Any, given: dict[str, Any]) -> None:
    layer.qkv.project = lambda x: torch.cat((x, x + 1, x - 1), dim=-1).float()


@pytest.mark.parametrize(
    "change",
    [
        other_cos,
        other_sequences,
        another_scale,
        hook_on_attention,
        hook_on_rotation,
        neighbours_turned,
        foreign_attention,
        foreign_rotation,
        another_type,
        rotation_in_float32,
    ],
)
@pytest.mark.parametrize("first", [True, False])
@torch.inference_mode()
def test_a_layer_that_is_not_like_the_first_has_its_own_bits(change: Any, first: bool) -> None:
    given = arguments(torch.bfloat16)
    changed, plain = Layer(), Layer()
    theirs = dict(given)
    change(changed, theirs)
    layers = [(changed, theirs), (plain, given)] if first else [(plain, given), (changed, theirs)]
    expected = [upstream(layer, **its).cpu() for layer, its in layers]
    with encoder_call():
        found = [vision_attention.forward_0_13(layer, **its).cpu() for layer, its in layers]
    assert all(map(torch.equal, found, expected))


@torch.inference_mode()
def test_with_gradients_nothing_is_shared_between_layers() -> None:
    layer, given = Layer(), arguments(torch.float32)
    with torch.inference_mode(False), torch.enable_grad(), encoder_call() as call:
        copied = {name: None if value is None else value.clone() for name, value in given.items()}
        for _ in range(2):
            vision_attention.forward_0_13(layer, **copied)
        assert not any("room" in str(key[0]) for key in call.buffers)


@torch.inference_mode()
def test_while_a_graph_is_captured_the_release_s_own_code_runs() -> None:
    layer, given = Layer(), arguments(torch.bfloat16)
    given["cu_seqlens"] = given["cu_seqlens"].cpu()
    with encoder_call() as call, torch.npu.graph(torch.npu.NPUGraph()):
        vision_attention.forward_0_13(layer, **given)
    assert (list(call.shared.values()), layer.attn.calls) == ([None], 1)


@torch.inference_mode()
def test_windows_and_whole_frames_of_one_call_write_into_the_same_memory() -> None:
    given = arguments(torch.bfloat16)
    windows = {**given, "cu_seqlens": torch.tensor([0, 1, 4, TOKENS], dtype=torch.int32).to("npu")}
    layer = Layer()
    expected = [upstream(Layer(), **each).cpu() for each in (given, windows)] * 2
    with encoder_call() as call:
        found = [vision_attention.forward_0_13(layer, **each).cpu() for each in (given, windows) * 2]
    assert all(map(torch.equal, found, expected))
    assert sum(key[0] == "room" for key in call.buffers) == 1


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
    for shape in ((4, 1, 144), (4, 144)):
        with encoder_call():
            assert torch.equal(compiled(torch.ones(shape)), torch.full(shape, 3.0))


class Block:
    """A block whose attention is of a class with this forward."""

    def __init__(self, forward: Any) -> None:
        self.attn = type("Attention", (), {"forward": forward})()


def test_blocks_get_no_batch_where_all_their_attention_is_done_here() -> None:
    hidden = torch.zeros(TOKENS, 144)
    assert vision_attention.for_blocks(hidden, [Block(vision_attention.forward_0_17)] * 2) is hidden


@pytest.mark.parametrize("other", [upstream, len])
def test_blocks_get_a_batch_of_one_where_anything_else_is_in_place(other: Any) -> None:
    blocks = [Block(vision_attention.forward_0_17), Block(other)]
    assert vision_attention.for_blocks(torch.zeros(TOKENS, 144), blocks).shape == (TOKENS, 1, 144)
