"""What strided arguments cost: kernels that copy them before the operator's own.

The rules are those of CANN's l0op::Contiguous and ViewCopy (contiguous.cpp of its op_api), and say which arguments an
operator makes contiguous: op-plugin's AtbCommon.cpp for ATB ops, the aclnn interface of the others.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import emulated_npu
from emulated_npu import Log, record


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def on_device(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.ones(*shape, dtype=dtype).npu()


def hidden(work: Callable[[], object]) -> dict[str, int]:
    with record() as log:
        work()
    return dict(log.hidden_kernels)


def kernels(tensor: torch.Tensor) -> list[str]:
    """The kernels that make an argument contiguous, as an operator with one argument shows them."""
    with record() as log:
        tensor.exp()
    return [name.rpartition(": ")[2] for name in log.hidden_kernels.elements()]


# Which kernels


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (lambda x: x, []),
        (lambda x: x[1:], []),
        (lambda x: x[:1].expand(1, 6, 96), []),
        (lambda x: x.transpose(0, 1), ["Transpose"]),
        (lambda x: x.permute(2, 0, 1), ["Transpose"]),
        (lambda x: x[:, 2:4], ["Slice"]),
        (lambda x: x[..., 10:50], ["Slice"]),
        (lambda x: x[:, 1], ["Slice"]),
        (lambda x: x[:, 2:4, :72].transpose(0, 1), ["Slice", "Transpose"]),
        (lambda x: x[:, 2:4, :64].transpose(0, 1), ["AsStrided"]),
        (lambda x: x[..., ::2], ["StridedSlice"]),
        (lambda x: x[..., 0], ["StridedSlice"]),
        (lambda x: x[:, :1].expand(4, 6, 96), ["Slice", "BroadcastTo"]),
        (lambda x: x[:1].expand(4, 6, 96), ["BroadcastTo"]),
        (lambda x: x.as_strided((3, 4), (2, 1)), ["AsStrided"]),
    ],
)
def test_the_strides_decide_which_kernels_copy(torch_npu, view, expected) -> None:
    base = on_device(4, 6, 96)
    assert kernels(view(base)) == expected


def test_a_broadcast_of_booleans_is_cast_before_and_after(torch_npu) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool).npu().expand(3, 4)
    assert hidden(lambda: mask.logical_not()) == {
        "aten::logical_not self: Cast": 2,
        "aten::logical_not self: BroadcastTo": 1,
    }


def test_the_value_in_a_fused_projection_is_a_slice_and_query_with_key_a_slice_and_a_transpose(torch_npu) -> None:
    """As vision encoders have them, at the head sizes 72 and 64."""
    for size, pair in ((72, ["Slice", "Transpose"]), (64, ["AsStrided"])):
        projected = on_device(10, 3, 4, size)
        assert kernels(projected[:, 2]) == ["Slice"]
        assert kernels(projected[:, :2].transpose(0, 1)) == pair
        assert kernels(projected[:, :2].reshape(1, 10, 8, size)) == ["Slice"]


# Which arguments


def strided(size: int = 72) -> torch.Tensor:
    """[10 tokens, 2 heads, size], sliced."""
    return on_device(10, 3, 2, size)[:, 1]


def counted(work: Callable[[], object]) -> tuple[int, dict[str, int]]:
    with record() as log:
        work()
    return log.kernels, dict(log.hidden_kernels)


def test_an_atb_op_makes_every_tensor_contiguous(torch_npu) -> None:
    lengths, out = torch.tensor([4, 6], dtype=torch.int32), torch.empty(10, 2, 72, dtype=torch.float16, device="npu")
    query, key, value = strided(), strided(), strided()
    found = counted(lambda: torch_npu._npu_flash_attention_unpad(query, key, value, lengths, 0.1, 2, 2, out))
    op = "atb::_npu_flash_attention_unpad"
    assert found == (4, {f"{op} {name}: Slice": 1 for name in ("query", "key", "value")})


def test_rotary_mul_makes_its_input_contiguous(torch_npu) -> None:
    pair = on_device(10, 3, 2, 72)[:, :2].transpose(0, 1)
    table = on_device(1, 10, 1, 72)
    assert counted(lambda: torch_npu.npu_rotary_mul(pair, table, table)) == (
        3,
        {"npu::npu_rotary_mul input: Slice": 1, "npu::npu_rotary_mul input: Transpose": 1},
    )


def test_rotary_mul_casts_tables_of_another_dtype(torch_npu) -> None:
    """op-plugin, RotaryMulKernelNpuOpApi.cpp."""
    x, table = on_device(1, 10, 2, 72), on_device(1, 10, 1, 72, dtype=torch.float32)
    assert hidden(lambda: torch_npu.npu_rotary_mul(x, table, table)) == {
        "npu::npu_rotary_mul r1: Cast": 1,
        "npu::npu_rotary_mul r2: Cast": 1,
    }


def test_fusion_attention_makes_query_key_and_value_contiguous(torch_npu) -> None:
    query, key, value = strided(), strided(), strided()
    ends = {"actual_seq_qlen": [4, 10], "actual_seq_kvlen": [4, 10]}
    found = hidden(lambda: torch_npu.npu_fusion_attention(query, key, value, 2, "TND", scale=0.1, **ends))
    assert found == {f"npu::npu_fusion_attention {name}: Slice": 1 for name in ("query", "key", "value")}


def test_fused_infer_attention_copies_a_strided_query_only(torch_npu) -> None:
    query, key = strided(128), on_device(10, 2, 128)
    ends = {"actual_seq_lengths": [4, 10], "actual_seq_lengths_kv": [4, 10]}

    def call() -> torch.Tensor:
        return torch_npu.npu_fused_infer_attention_score(query, key, key, num_heads=2, input_layout="TND", **ends)[0]

    assert hidden(call) == {"npu::npu_fused_infer_attention_score query: Slice": 1}
    query = query.contiguous()
    assert hidden(call) == {}


def test_a_prefetch_copies_nothing(torch_npu) -> None:
    assert counted(lambda: torch_npu.npu_prefetch(strided(), None, 64))[1] == {}


def test_operators_of_torch_make_their_arguments_contiguous(torch_npu) -> None:
    first, second = strided(), strided()
    assert hidden(lambda: torch.cat((first, second))) == {"aten::cat tensors: Slice": 2}
    assert hidden(lambda: first + second) == {"aten::add.Tensor self: Slice": 1, "aten::add.Tensor other: Slice": 1}
    assert hidden(lambda: torch.nn.functional.pad(first, (0, 8))) == {"aten::constant_pad_nd self: Slice": 1}


def test_a_matrix_product_takes_a_transposed_matrix_as_it_lies(torch_npu) -> None:
    left, right = on_device(4, 8), on_device(6, 8)
    assert hidden(lambda: left @ right.t()) == {}
    assert hidden(lambda: torch.nn.functional.linear(left, right)) == {}
    assert hidden(lambda: left @ on_device(6, 16)[:, ::2].t()) != {}


# Copies


def whole(log: Log) -> tuple[int, dict[str, int]]:
    return log.kernels, dict(log.hidden_kernels)


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        (lambda x: x.clone(), 1),
        (lambda x: x.transpose(0, 1).contiguous(), 1),
        (lambda x: x[:, 1].contiguous(), 1),
        (lambda x: x[:, :2, :24].transpose(0, 1).contiguous(), 2),
        (lambda x: x[:, 1].float(), 2),
        (lambda x: torch.empty_like(x).copy_(x), 1),
        (lambda x: torch.empty_like(x)[:, 1].copy_(x[:, 1]), 2),
        (lambda x: torch.empty_like(x)[:, 1].copy_(on_device(4, 1)), 2),
    ],
)
def test_a_copy_on_the_device_is_as_many_kernels_as_it_has_steps(torch_npu, copy, expected) -> None:
    x = on_device(4, 6, 72)
    with record() as log:
        copy(x)
    assert log.kernels == expected, log.table()


def test_what_is_copied_to_the_host_is_made_contiguous_on_the_device(torch_npu) -> None:
    x = strided()
    with record() as log:
        x.cpu()
    assert whole(log) == (1, {"aten::_to_copy source: Slice": 1})


def test_what_is_copied_to_strided_memory_of_the_device_is_copied_once_more(torch_npu) -> None:
    target = strided()
    with record() as log:
        target.copy_(torch.ones(10, 2, 72, dtype=torch.float16))
    assert whole(log) == (1, {"aten::copy_ target: ViewCopy": 1})


def test_writing_in_place_to_strided_memory_copies_back(torch_npu) -> None:
    x = strided()
    assert hidden(lambda: x.add_(1)) == {"aten::add_.Tensor self: Slice": 1, "aten::add_.Tensor self: ViewCopy": 1}
    assert hidden(lambda: x.zero_()) == {"aten::zero_ self: ViewCopy": 1}


def test_hidden_kernels_are_kernels_and_no_dispatches_and_are_shown(torch_npu) -> None:
    x = strided()
    with record() as log:
        x.exp()
    assert (log.kernels, log.dispatches) == (2, 1)
    assert log.to_dict()["hidden_kernels"] == {"aten::exp self: Slice": 1}
    assert "1 x aten::exp self: Slice" in log.table()


# Results


@pytest.mark.parametrize(
    "work",
    [
        lambda npu, x: npu.npu_fast_gelu(x),
        lambda npu, x: npu.npu_swiglu(x, 0),
        lambda npu, x: npu.npu_rms_norm(x, on_device(2))[0],
        lambda npu, x: npu.npu_add_rms_norm(x, x, on_device(2))[2],
        lambda npu, x: npu.npu_quantize(x, on_device(1), None, torch.qint8, -1, True),
        lambda npu, x: npu.npu_dynamic_quant(x)[0],
        lambda npu, x: npu.npu_format_cast(x, 2),
        lambda npu, x: npu.npu_rotary_mul(x.unsqueeze(0), on_device(1, 72, 1, 2), on_device(1, 72, 1, 2)),
        lambda npu, x: x + 1,
        lambda npu, x: x * x,
        lambda npu, x: torch.nn.functional.gelu(x),
        lambda npu, x: x.clone(),
        lambda npu, x: x.exp(),
    ],
)
def test_a_result_is_contiguous_whatever_the_strides_of_the_arguments(torch_npu, work) -> None:
    """torch_npu makes results by sizes: OpPreparation::apply_tensor_without_format."""
    x = on_device(2, 10, 72).permute(2, 1, 0)
    assert not x.is_contiguous()
    assert work(torch_npu, x).is_contiguous()


def test_a_cast_and_an_allocation_like_another_keep_strides(torch_npu) -> None:
    x = on_device(4, 6).t()
    assert (x.float().stride(), torch.empty_like(x).stride()) == (x.stride(), x.stride())
