"""Encoder attention: right numbers, few dispatches, every decision made once."""

from __future__ import annotations

import copy

import pytest
import torch
from npu.attention_layers import Layer, boundaries, exact, inputs, layer_with

import emulated_npu
from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.host_lengths import LengthsError, hand_over
from ascend_patches.patches.mm_encoder_attention.options import OPTIONS
from ascend_patches.patches.mm_encoder_attention.plans import plan_of

LENGTHS = (5, 3, 8)
TOKENS = sum(LENGTHS)
TOLERANCE = 0.03
"""Of bfloat16, which is what the ops take."""
every_kernel = pytest.mark.parametrize("kernel", kernels.KERNELS)


def error(output: torch.Tensor, expected: torch.Tensor) -> float:
    return float((output.cpu().double() - expected).abs().max())


@every_kernel
@pytest.mark.parametrize("size", [64, 72, 128])
@torch.inference_mode()
def test_every_kernel_computes_attention(kernel: str, size: int) -> None:
    given = inputs(TOKENS, size=size)
    output = layer_with(kernel, size=size)(given, boundaries(LENGTHS))
    assert error(output, exact(given, LENGTHS)) < TOLERANCE


@every_kernel
@pytest.mark.parametrize("kv_heads", [1, 2])
@torch.inference_mode()
def test_key_heads_are_shared_without_being_copied(kernel: str, kv_heads: int) -> None:
    given = inputs(TOKENS, heads=4, kv_heads=kv_heads)
    with emulated_npu.record() as log:
        output = layer_with(kernel, heads=4, kv_heads=kv_heads)(given, boundaries(LENGTHS))
    assert error(output, exact(given, LENGTHS)) < TOLERANCE
    assert not {name for name in log.by_operator if "repeat" in name or "index" in name}


@every_kernel
@torch.inference_mode()
def test_the_layers_own_scale_counts(kernel: str) -> None:
    given = inputs(TOKENS)
    output = layer_with(kernel, scale=0.3)(given, boundaries(LENGTHS))
    assert error(output, exact(given, LENGTHS, scale=0.3)) < TOLERANCE


@every_kernel
@torch.inference_mode()
def test_keys_of_another_length(kernel: str) -> None:
    given = inputs(TOKENS, keys_per_query=3)
    output = layer_with(kernel)(given, boundaries(LENGTHS))
    assert error(output, exact(given, LENGTHS)) < TOLERANCE


@torch.inference_mode()
def test_key_tokens_that_boundaries_cannot_divide_are_an_error() -> None:
    given = inputs(TOKENS)
    given.key, given.value = given.key[:, :5], given.value[:, :5]
    with pytest.raises(LengthsError, match="16 query tokens; for 5 key tokens"):
        Layer()(given, boundaries(LENGTHS))


@torch.inference_mode()
def test_without_boundaries_every_row_is_a_sequence() -> None:
    given = inputs(4, batch=3)
    assert error(Layer()(given, None), exact(given, (4, 4, 4))) < TOLERANCE


@torch.inference_mode()
def test_lengths_that_are_passed_on_the_host_cost_no_copy() -> None:
    given, cu_seqlens = inputs(TOKENS), boundaries(LENGTHS)
    with emulated_npu.record() as log:
        output = Layer()(given, cu_seqlens, sequence_lengths=torch.tensor(LENGTHS))
    assert log.stalls == 0
    assert error(output, exact(given, LENGTHS)) < TOLERANCE


@torch.inference_mode()
def test_lengths_that_are_passed_on_the_device_cost_no_more_than_boundaries() -> None:
    given, cu_seqlens = inputs(TOKENS), boundaries(LENGTHS)
    lengths = torch.tensor(LENGTHS, device="npu")
    with emulated_npu.record() as log:
        Layer()(given, cu_seqlens, sequence_lengths=lengths)
    assert len(log.device_to_host) == 1


@every_kernel
@pytest.mark.parametrize("size", [64, 72])
@torch.inference_mode()
def test_heads_together_come_back_together(kernel: str, size: int) -> None:
    given = inputs(4, batch=2, size=size)
    expected = layer_with(kernel, size=size)(given, None)
    for name, tensor in vars(given).items():
        setattr(given, name, tensor.flatten(2))
    output = layer_with(kernel, size=size)(given, None)
    assert (output.shape, output.is_contiguous()) == ((2, 4, 2 * size), True)
    assert torch.equal(output, expected.flatten(2))


@every_kernel
@torch.inference_mode()
def test_slices_of_a_projection_need_not_be_contiguous(kernel: str) -> None:
    given = inputs(TOKENS, heads=6, kv_heads=6)
    given.query, given.key, given.value = given.query.chunk(3, dim=2)
    output = layer_with(kernel)(given, boundaries(LENGTHS))
    assert output.is_contiguous()
    assert error(output, exact(given, LENGTHS)) < TOLERANCE


@every_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_call_changes_no_bit(kernel: str, dtype: torch.dtype) -> None:
    given, cu_seqlens = inputs(TOKENS, dtype=dtype), boundaries(LENGTHS)
    layer = layer_with(kernel)
    alone = layer(given, cu_seqlens)
    with encoder_call():
        hand_over(cu_seqlens, LENGTHS)
        layer(inputs(TOKENS + 1, dtype=dtype), boundaries((TOKENS + 1,)))
        within = layer(given, cu_seqlens)
    assert torch.equal(alone, within)


@every_kernel
@pytest.mark.parametrize(("tokens", "heads"), [(6, 2), (1, 1)])
@torch.inference_mode()
def test_a_layer_does_not_overwrite_the_output_of_the_one_before(kernel: str, tokens: int, heads: int) -> None:
    first, second = (inputs(tokens, heads=heads, kv_heads=heads) for _ in range(2))
    second.value = second.value + 1
    layer = layer_with(kernel, heads=heads, kv_heads=heads)
    with encoder_call():
        output = layer(first, None)
        before = output.clone()
        layer(second, None)
        assert torch.equal(output, before)


@pytest.mark.parametrize(
    ("kernel", "most"),
    [(kernels.FLASH_ATTENTION_UNPAD, 5), (kernels.FUSION_ATTENTION, 7), (kernels.FUSED_INFER_ATTENTION, 7)],
)
@torch.inference_mode()
def test_a_layer_copies_three_inputs_attends_and_copies_the_output(kernel: str, most: int) -> None:
    given, cu_seqlens = inputs(TOKENS), boundaries(LENGTHS)
    layer = layer_with(kernel)
    with encoder_call():
        layer(given, cu_seqlens)
        with emulated_npu.record() as log:
            layer(given, cu_seqlens)
    assert (log.kernels, log.stalls) == (5, 0)
    assert log.dispatches <= most


@torch.inference_mode()
def test_streams_do_not_race_for_buffers() -> None:
    layer, given = Layer(), inputs(TOKENS)
    with emulated_npu.trace() as trace, encoder_call():
        for stream in (torch.npu.Stream(), torch.npu.Stream()):
            with torch.npu.stream(stream):
                layer(given, None)
    assert trace.races() == []


def test_a_plan_is_made_once_and_kept_by_its_layer() -> None:
    layer = Layer()
    assert plan_of(layer, Layer.release) is plan_of(layer, Layer.release)


def test_a_copy_of_a_layer_keeps_its_plan() -> None:
    layer = Layer()
    plan = plan_of(layer, Layer.release)
    assert plan_of(copy.deepcopy(layer), Layer.release) == plan


@pytest.mark.parametrize(("size", "expected"), [(32, 32), (64, 64), (65, 128), (127, 128), (128, 128), (160, 160)])
def test_sizes_between_64_and_128_are_padded_to_128(size: int, expected: int) -> None:
    assert plan_of(Layer(size=size), Layer.release).padded_size == expected


@pytest.mark.parametrize(("padding", "expected"), [("off", 72), (96, 96), (256, 256), (64, 72)])
def test_the_padding_that_was_chosen_counts(padding: str | int, expected: int) -> None:
    OPTIONS.choose({"padding": padding, "kernel": "as-upstream"})
    assert plan_of(Layer(), Layer.release).padded_size == expected


def kernels_called(layer: Layer, dtype: torch.dtype, **given: int) -> list[str]:
    with emulated_npu.record() as log, torch.inference_mode():
        layer(inputs(TOKENS, dtype=dtype, **given), boundaries(LENGTHS))
    return [name.partition("::")[2] for name in log.by_operator if "attention" in name]


@every_kernel
def test_the_kernel_of_the_release_is_called(kernel: str) -> None:
    assert kernels_called(layer_with(kernel), torch.bfloat16) == [kernel]


@every_kernel
def test_the_kernel_that_was_chosen_is_called(kernel: str) -> None:
    OPTIONS.choose({"padding": "as-upstream", "kernel": kernel})
    assert kernels_called(Layer(), torch.bfloat16) == [kernel]


def test_what_flash_attention_unpad_does_not_take_goes_to_fusion_attention() -> None:
    layer = layer_with(kernels.FLASH_ATTENTION_UNPAD)
    assert kernels_called(layer, torch.float32) == [kernels.FUSION_ATTENTION]
    assert kernels_called(layer, torch.bfloat16, keys_per_query=2) == [kernels.FUSION_ATTENTION]


def test_the_default_scale_is_the_same_number_however_it_is_computed() -> None:
    sizes = torch.arange(1, 257).tolist()
    both = [torch.tensor([size**-0.5, 1.0 / size**0.5], dtype=torch.float32) for size in sizes]
    assert all(first == second for first, second in both)


# The layers after the second of a call


@every_kernel
@pytest.mark.parametrize("size", [64, 72])
@pytest.mark.parametrize("together", [False, True], ids=["heads apart", "heads together"])
@torch.inference_mode()
def test_every_layer_of_a_call_computes_what_it_would_alone(kernel: str, size: int, together: bool) -> None:
    layers = [layer_with(kernel, size=size) for _ in range(4)]
    given = [inputs(TOKENS, size=size) for _ in layers]
    for index, each in enumerate(given):
        each.value = each.value + index
        for name, tensor in vars(each).items() if together else ():
            setattr(each, name, tensor.flatten(2))
    cu_seqlens = boundaries(LENGTHS)
    alone = [layer(each, cu_seqlens) for layer, each in zip(layers, given, strict=True)]
    with encoder_call():
        within = [layer(each, cu_seqlens) for layer, each in zip(layers, given, strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(alone, within, strict=True))


@every_kernel
@pytest.mark.parametrize("other", [{"heads": 4, "kv_heads": 4}, {"size": 72}, {"scale": 2.0}], ids=str)
@torch.inference_mode()
def test_a_layer_of_another_kind_is_not_taken_for_those_before_it(kernel: str, other: dict[str, int]) -> None:
    cu_seqlens, alike, another = boundaries(LENGTHS), layer_with(kernel), layer_with(kernel, **other)
    form = {name: value for name, value in other.items() if name != "scale"}
    given = inputs(TOKENS, **form)
    alone = another(given, cu_seqlens)
    with encoder_call():
        for _ in range(3):
            alike(inputs(TOKENS), cu_seqlens)
        assert torch.equal(another(given, cu_seqlens), alone)


@every_kernel
@torch.inference_mode()
def test_other_boundaries_of_as_many_tokens_are_other_sequences(kernel: str) -> None:
    given, layer, others = inputs(TOKENS), layer_with(kernel), boundaries(LENGTHS[::-1])
    alone = layer(given, others)
    with encoder_call():
        for _ in range(3):
            layer(given, boundaries(LENGTHS))
        assert torch.equal(layer(given, others), alone)
        assert torch.equal(layer(given, others), alone)


@every_kernel
@torch.inference_mode()
def test_a_key_of_another_type_is_refused_by_the_op_and_not_cast(kernel: str) -> None:
    given, layer, cu_seqlens = inputs(TOKENS), layer_with(kernel, size=72), boundaries(LENGTHS)
    given = inputs(TOKENS, size=72)
    with encoder_call():
        for _ in range(3):
            layer(given, cu_seqlens)
        given.key = given.key.half()
        with pytest.raises(RuntimeError):
            layer(given, cu_seqlens)


@every_kernel
@torch.inference_mode()
def test_layers_on_another_stream_write_into_other_buffers(kernel: str) -> None:
    given, layer, cu_seqlens = inputs(TOKENS, size=72), layer_with(kernel, size=72), boundaries(LENGTHS)
    with emulated_npu.trace() as trace, encoder_call():
        for stream in (torch.npu.Stream(), torch.npu.Stream()):
            with torch.npu.stream(stream):
                for _ in range(3):
                    layer(given, cu_seqlens)
    assert trace.races() == []
