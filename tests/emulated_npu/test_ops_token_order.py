from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


EXPERTS = torch.tensor([[2, 0], [0, 1], [2, 1]], dtype=torch.int32)
"""Two experts of three tokens each."""


class TestMoeTokenPermute:
    """The rules: op-plugin, op_plugin/utils/KernelNpuOutputSize.cpp, and CANN's page on aclnnMoeTokenPermute."""

    def test_tokens_come_in_the_order_of_their_experts_with_the_place_of_each(self, torch_npu):
        tokens = values(3, 4)
        permuted, places = torch_npu.npu_moe_token_permute(tokens.npu(), EXPERTS.npu())
        assert permuted.cpu().tolist() == tokens[[0, 1, 1, 2, 0, 2]].tolist()
        assert places.dtype == torch.int32
        assert places.tolist() == [4, 0, 1, 2, 5, 3]

    def test_one_expert_for_each_token_needs_no_second_dimension(self, torch_npu):
        permuted, places = torch_npu.npu_moe_token_permute(values(3, 2).npu(), torch.tensor([1, 0, 1]).npu())
        assert permuted.cpu().tolist() == values(3, 2)[[1, 0, 2]].tolist()
        assert places.tolist() == [1, 0, 2]

    @pytest.mark.parametrize(("asked", "rows"), [(None, 6), (0, 6), (4, 4), (9, 6), (-2, 4)])
    def test_the_last_rows_are_dropped_by_number(self, torch_npu, asked, rows):
        permuted, places = torch_npu.npu_moe_token_permute(values(3, 4).npu(), EXPERTS.npu(), num_out_tokens=asked)
        assert (permuted.shape, places.shape) == ((rows, 4), (6,))

    @pytest.mark.parametrize(
        ("tokens", "indices", "options", "message"),
        [
            (values(3), EXPERTS, {}, "dims of input tokens should be 2 dimensional, but got 1"),
            (values(3, 4), EXPERTS[None], {}, "dims of input indices should be 2 or 1 dimensional, but got 3"),
            (values(3, 4).double(), EXPERTS, {}, "tokens is float64"),
            (values(3, 4), EXPERTS.short(), {}, "indices is int16"),
            (values(2, 4), EXPERTS, {}, "3 rows of indices for 2 tokens"),
            (values(1, 4), torch.zeros(1, 513, dtype=torch.int32), {}, "at most 512"),
            (values(3, 4), EXPERTS, {"padded_mode": True}, "padded_mode is not supported"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, tokens, indices, options, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_moe_token_permute(tokens.npu(), indices.npu(), **options)


class TestMoeTokenUnpermute:
    """The rules: op-plugin, op_plugin/utils/KernelNpuOutputSize.cpp, and CANN's page on aclnnMoeTokenUnpermute."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_it_weighs_and_adds_what_each_expert_made_of_a_token(self, torch_npu, dtype):
        tokens, probs = values(3, 4, dtype=dtype), values(3, 2, dtype=dtype, seed=1)
        permuted, places = torch_npu.npu_moe_token_permute(tokens.npu(), EXPERTS.npu())
        found = torch_npu.npu_moe_token_unpermute(permuted, places, probs=probs.npu())
        assert found.dtype == dtype
        expected = tokens.double() * probs.double().sum(1, keepdim=True)
        torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-2, atol=1e-2)

    def test_without_weights_each_index_is_a_row(self, torch_npu):
        rows = values(3, 4, dtype=torch.float16)
        found = torch_npu.npu_moe_token_unpermute(rows.npu(), torch.tensor([2, 0, 1], dtype=torch.int32).npu())
        assert found.cpu().tolist() == rows[[2, 0, 1]].tolist()

    @pytest.mark.parametrize(
        ("rows", "indices", "probs", "message"),
        [
            (values(6), torch.arange(6), None, "dims of input permuted_tokens should be 2 dimensional, but got 1"),
            (values(6, 4), EXPERTS, None, "dims of input sorted_indices should be 1 dimensional, but got 2"),
            (values(6, 4), torch.arange(6), values(6), "dims of input probs should be 2 dimensional, but got 1"),
            (values(6, 4), torch.arange(6), None, "sorted_indices is int64"),
            (values(6, 4).double(), torch.arange(6).int(), None, "permuted_tokens is float64"),
            (values(6, 4), torch.arange(6).int(), values(2, 2), "6 sorted_indices for probs of shape"),
            (values(6, 4), torch.arange(6).int(), values(1, 513), "1 to 512"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, rows, indices, probs, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_moe_token_unpermute(rows.npu(), indices.npu(), None if probs is None else probs.npu())

    def test_an_index_of_a_row_that_was_dropped_is_not_emulated(self, torch_npu):
        indices = torch.tensor([0, 3], dtype=torch.int32).npu()
        with pytest.raises(NotImplementedError, match=r"none of the 3 permuted_tokens .*token_order.py"):
            torch_npu.npu_moe_token_unpermute(values(3, 4).npu(), indices)


def test_both_have_shapes_without_values(torch_npu):
    with FakeTensorMode():
        tokens, indices = torch.empty(3, 4), torch.empty(3, 2, dtype=torch.int32)
        permuted, places = torch.ops.npu.npu_moe_token_permute(tokens.to("meta"), indices.to("meta"), 5)
        restored = torch.ops.npu.npu_moe_token_unpermute(permuted, places, torch.empty(3, 2).to("meta"))
    assert (permuted.shape, places.shape, places.dtype) == ((5, 4), (6,), torch.int32)
    assert restored.shape == (3, 4)
