"""cos and sin as the op takes them: made once in an encoder call, and only there."""

from __future__ import annotations

import pytest
import torch

from ascend_patches.npu.encoder_call import encoder_call
from ascend_patches.npu.rotary_tables import Form, Mode, Tables, tables_of

TOKENS, PAIRS = 6, 8
FORM = Form("half", torch.float32, rows=1)


def angles() -> tuple[torch.Tensor, torch.Tensor]:
    given = torch.arange(TOKENS * PAIRS, dtype=torch.float32).view(TOKENS, PAIRS).to("npu")
    return given.cos(), given.sin()


def same(one: Tables, other: Tables) -> bool:
    return one.cos is other.cos and one.sin is other.sin


@pytest.mark.parametrize(("mode", "channels"), [("half", [0, 1, 0, 1]), ("interleave", [0, 0, 1, 1])])
def test_each_channel_has_the_value_of_its_pair(mode: Mode, channels: list[int]) -> None:
    values = torch.tensor([[0.0, 1.0]])
    tables = tables_of(values, values, Form(mode, torch.float32, rows=1))
    assert tables.cos.flatten().tolist() == channels


def test_positions_are_laid_out_for_rows_that_share_them() -> None:
    assert tables_of(*angles(), FORM).cos.shape == (1, TOKENS, 1, 2 * PAIRS)


def test_positions_are_laid_out_for_rows_that_have_their_own() -> None:
    cos, sin = (values.view(2, TOKENS // 2, PAIRS) for values in angles())
    assert tables_of(cos, sin, FORM._replace(rows=2)).cos.shape == (2, TOKENS // 2, 1, 2 * PAIRS)


def test_layers_of_a_call_share_them() -> None:
    cos, sin = angles()
    with encoder_call():
        assert same(tables_of(cos, sin, FORM), tables_of(cos, sin, FORM))


def test_in_a_call_they_have_the_type_of_the_input() -> None:
    with encoder_call():
        assert tables_of(*angles(), FORM._replace(dtype=torch.bfloat16)).cos.dtype == torch.bfloat16


def test_each_form_has_its_own() -> None:
    cos, sin = angles()
    forms = (FORM, FORM._replace(dtype=torch.bfloat16), FORM._replace(mode="interleave"), FORM._replace(rows=2))
    with encoder_call():
        kept = {form: tables_of(cos, sin, form) for form in forms}
        assert all(same(tables_of(cos, sin, form), tables) for form, tables in kept.items())


def test_another_tensor_in_the_same_memory_is_another() -> None:
    cos, sin = angles()
    with encoder_call():
        first = tables_of(cos, sin, FORM)
        assert not same(tables_of(cos.view_as(cos), sin, FORM), first)


def test_cos_and_sin_belong_together() -> None:
    cos, sin = angles()
    with encoder_call():
        tables_of(cos, sin, FORM)
        assert torch.equal(tables_of(cos, cos, FORM).sin.cpu(), tables_of(cos, sin, FORM).cos.cpu())


def test_an_encoder_that_makes_new_ones_in_every_layer_does_not_fill_the_call() -> None:
    with encoder_call() as call:
        for _ in range(5):
            tables_of(*angles(), FORM)
        assert len(call.buffers) == 1


def test_outside_of_calls_nothing_is_shared() -> None:
    cos, sin = angles()
    assert not same(tables_of(cos, sin, FORM), tables_of(cos, sin, FORM))


def test_the_next_call_sees_what_was_written_in_place_since() -> None:
    cos, sin = angles()
    with encoder_call():
        tables_of(cos, sin, FORM)
    cos.zero_()
    with encoder_call():
        assert not tables_of(cos, sin, FORM).cos.cpu().any()


def test_a_capture_neither_gets_them_nor_leaves_any() -> None:
    cos, sin = angles()
    with encoder_call() as call:
        before = tables_of(cos, sin, FORM)
        with torch.npu.graph(torch.npu.NPUGraph()):
            captured = tables_of(cos, sin, FORM)
        assert not same(captured, before)
        assert same(tables_of(cos, sin, FORM), before)
        assert len(call.buffers) == 1


def test_a_stream_does_not_read_what_another_has_made() -> None:
    cos, sin = angles()
    with encoder_call():
        first = tables_of(cos, sin, FORM)
        with torch.npu.stream(torch.npu.Stream()):
            assert not same(tables_of(cos, sin, FORM), first)
