"""The replacements of the patch rotary-embedding: right in every form of input, by the op wherever the op takes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npu.rotary_layers import Layer, turned

import emulated_npu
from ascend_patches.npu import rotary_mul
from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.patches.rotary_embedding import replacements as rotary_embedding

Forward = Callable[..., torch.Tensor]
EVERY: dict[str, Forward] = {
    name: getattr(rotary_embedding, name)
    for name in ("forward_oot_0_13", "forward_oot", "forward_oot_of_vllm_0_13", "forward_oot_of_vllm")
}
every_forward = pytest.mark.parametrize("forward", EVERY.values(), ids=EVERY)
TOKENS, HEADS, SIZE = 6, 3, 16


def inputs(
    *shape: int, width: int = SIZE, dtype: torch.dtype = torch.float32, own_positions: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    leading = shape[:-2] if own_positions else shape[-3:-2]
    angles = torch.rand(*leading, width // 2, generator=generator) * 7
    x = torch.randn(*shape, generator=generator)
    return x.to(dtype).to("npu"), angles.cos().to(dtype).to("npu"), angles.sin().to(dtype).to("npu")


def error(layer: Layer, output: torch.Tensor, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> float:
    """How far an output is from float64."""
    exact = turned(*(tensor.cpu().double() for tensor in (x, cos, sin)), neox=layer.is_neox_style)
    assert output.shape == x.shape
    assert output.dtype == x.dtype
    return float((output.cpu().double() - exact).abs().max()) if output.numel() else 0.0


@every_forward
@pytest.mark.parametrize("neox", [True, False], ids=["halves", "neighbours"])
@pytest.mark.parametrize("width", [SIZE, 8], ids=["whole heads", "a part of heads"])
@pytest.mark.parametrize("shape", [(TOKENS, HEADS, SIZE), (1, TOKENS, HEADS, SIZE), (4, TOKENS, HEADS, SIZE)], ids=str)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-6)], ids=str)
def test_it_turns_by_the_op_what_is_to_be_turned(
    forward: Forward, neox: bool, width: int, shape: tuple[int, ...], dtype: torch.dtype, near: float
) -> None:
    layer, given = Layer(neox=neox), inputs(*shape, width=width, dtype=dtype)
    assert error(layer, forward(layer, *given), *given) < near
    assert layer.in_plain_torch == 0


@every_forward
def test_in_float32_it_rounds_once(forward: Forward) -> None:
    layer, given = Layer(in_float32=True), inputs(2, TOKENS, HEADS, SIZE, dtype=torch.bfloat16)
    exact = turned(*(tensor.cpu().float() for tensor in given), neox=True)
    assert torch.equal(forward(layer, *given).cpu(), exact.bfloat16())


@every_forward
def test_rows_with_positions_of_their_own_are_turned_by_them(forward: Forward) -> None:
    layer, given = Layer(), inputs(2, TOKENS, HEADS, SIZE, own_positions=True)
    assert error(layer, forward(layer, *given), *given) < 1e-6
    assert layer.in_plain_torch == 0


@every_forward
@pytest.mark.parametrize(
    ("neox", "shape", "options"),
    [
        (True, (2, 1001, SIZE), {}),
        (True, (1001, 1, 1, SIZE), {}),
        (False, (10, 1, 100, SIZE), {}),
        (True, (1, 2, 1, 896), {"width": 896}),
        (True, (2, TOKENS, HEADS, SIZE), {"dtype": torch.float64}),
        (False, (2, TOKENS, HEADS, SIZE), {"own_positions": True}),
        (True, (0, TOKENS, HEADS, SIZE), {}),
        (True, (0, HEADS, SIZE), {}),
    ],
    ids=[
        "more heads than it takes",
        "more rows than it takes",
        "more rows and heads than it takes interleaved",
        "wider than it takes",
        "a type that it does not take",
        "interleaved, with positions of their own",
        "no rows",
        "no tokens",
    ],
)
def test_what_the_op_does_not_take_is_turned_in_plain_torch(
    forward: Forward, neox: bool, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    layer, given = Layer(neox=neox), inputs(*shape, **options)
    assert error(layer, forward(layer, *given), *given) < 1e-6
    assert layer.in_plain_torch == 1


@every_forward
def test_a_device_whose_op_turns_halves_only_turns_neighbours_in_plain_torch(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.npu, "get_soc_version", lambda: 202)
    layer, given = Layer(neox=False), inputs(2, TOKENS, HEADS, SIZE)
    assert error(layer, forward(layer, *given), *given) < 1e-6
    assert layer.in_plain_torch == 1


def test_without_a_device_nobody_knows_that_the_op_turns_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "npu")
    assert not rotary_mul.device_interleaves()


@pytest.mark.parametrize("name", ["forward_oot_of_vllm_0_13", "forward_oot_of_vllm"])
def test_on_a_platform_without_torch_npu_vllm_computes_as_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch_npu")
    layer, (x, cos, sin) = Layer(), inputs(2, TOKENS, HEADS, SIZE)
    output = EVERY[name](layer, x, cos=cos, sin=sin)
    assert torch.equal(output.cpu(), layer.forward_static(x, cos, sin).cpu())


@every_forward
def test_tables_wider_than_a_head_are_refused_with_their_shapes(forward: Forward) -> None:
    x, cos, sin = inputs(2, TOKENS, HEADS, 8, width=8)
    with pytest.raises(
        rotary_embedding.RotaryWidthError, match=r"\[6, 8\] turn 16 channels, .* have 8: .* must not exceed head_dim"
    ):
        forward(Layer(), x, torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1))


@every_forward
def test_in_an_encoder_call_the_second_layer_is_the_op_and_nothing_else(forward: Forward) -> None:
    layer, given = Layer(), inputs(2, TOKENS, HEADS, SIZE, dtype=torch.bfloat16)
    with encoder_call():
        forward(layer, *given)
        with emulated_npu.record() as log:
            forward(layer, *given)
    assert log.by_operator == {"npu::npu_rotary_mul": 1}


@every_forward
def test_in_an_encoder_call_computing_in_float32_casts_the_input_and_the_output_only(forward: Forward) -> None:
    layer, given = Layer(in_float32=True), inputs(2, TOKENS, HEADS, SIZE, dtype=torch.bfloat16)
    with encoder_call():
        forward(layer, *given)
        with emulated_npu.record() as log:
            forward(layer, *given)
    assert log.kernels == 3


@every_forward
def test_layers_of_one_call_with_different_positions_do_not_mix_them_up(forward: Forward) -> None:
    layer = Layer()
    one, other = inputs(2, TOKENS, HEADS, SIZE), inputs(2, TOKENS + 2, HEADS, SIZE)
    with encoder_call():
        for given in (one, other, one, other):
            assert error(layer, forward(layer, *given), *given) < 1e-6


@settings(max_examples=60, deadline=None)
@given(
    batch=st.sampled_from([None, 0, 1, 2, 40]),
    tokens=st.integers(0, 5),
    heads=st.sampled_from([1, 2, 5, 30]),
    pairs=st.integers(1, 12),
    untouched=st.integers(0, 9),
    neox=st.booleans(),
    in_float32=st.booleans(),
    called=st.booleans(),
)
def test_whatever_the_sizes_it_is_as_near_as_float32(
    batch: int | None, tokens: int, heads: int, pairs: int, untouched: int, neox: bool, in_float32: bool, called: bool
) -> None:
    layer = Layer(neox=neox, in_float32=in_float32)
    shape = (tokens, heads, 2 * pairs + untouched)
    given = inputs(*(shape if batch is None else (batch, *shape)), width=2 * pairs)
    for forward in EVERY.values():
        if called:
            with encoder_call():
                outputs = [forward(layer, *given), forward(layer, *given)]
        else:
            outputs = [forward(layer, *given)]
        assert max(error(layer, output, *given) for output in outputs) < 2e-6
