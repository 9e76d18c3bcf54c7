from __future__ import annotations

import pytest
import torch

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestMoeGatingTopK:
    """The rules: op-plugin, op_plugin/ops/opapi/MoeGatingTopKKernelNpuOpApi.cpp and its page on the op."""

    def test_softmax_weights_of_the_largest_experts_are_scaled_and_not_summed_to_one(self, torch_npu):
        x = values(5, 16)
        weights, experts, _ = torch_npu.npu_moe_gating_top_k(x.npu(), 4, routed_scaling_factor=2.5)
        expected = x.double().softmax(-1).topk(4)
        assert experts.dtype == torch.int32
        assert experts.tolist() == expected.indices.tolist()
        torch.testing.assert_close(weights.cpu().double(), 2.5 * expected.values, rtol=1e-6, atol=1e-7)

    def test_sigmoid_weights_sum_to_the_factor_and_a_bias_only_chooses(self, torch_npu):
        x, bias = values(3, 12), values(12, seed=1) * 3
        weights, experts, scores = torch_npu.npu_moe_gating_top_k(
            x.npu(), 3, bias=bias.npu(), norm_type=1, out_flag=True, routed_scaling_factor=2.0
        )
        sigmoid = x.double().sigmoid()
        chosen = (sigmoid + bias.double()).topk(3).indices
        assert experts.tolist() == chosen.tolist()
        among = sigmoid.gather(1, chosen)
        torch.testing.assert_close(weights.cpu().double(), 2 * among / among.sum(-1, keepdim=True))
        torch.testing.assert_close(scores.cpu().double(), sigmoid)

    @pytest.mark.parametrize(("mode", "groups"), [(0, [0, 2]), (1, [1, 2])])
    def test_only_experts_of_the_best_groups_are_chosen(self, torch_npu, mode, groups):
        # Group 0 has the largest expert, group 1 the best two, group 2 is good by both, group 3 by neither.
        x = torch.tensor([[3.0, -9, -9, 2, 2, -9, 2.5, 2.4, -9, -9, -9, -9]])
        _, experts, _ = torch_npu.npu_moe_gating_top_k(
            x.npu(), 2, k_group=2, group_count=4, group_select_mode=mode, norm_type=1
        )
        assert {expert // 3 for expert in experts[0].tolist()} <= set(groups)

    def test_the_scores_are_no_numbers_where_they_were_not_asked_for(self, torch_npu):
        assert torch_npu.npu_moe_gating_top_k(values(2, 8).npu(), 1)[2].cpu().isnan().all()

    @pytest.mark.parametrize(
        ("x", "options", "message"),
        [
            (values(2, 3, 8), {}, "The x should be 2D"),
            (values(2, 8).double(), {}, "x is float64"),
            (values(2, 8), {"bias": values(8).half()}, "dtype of x and bias should be same"),
            (values(2, 8), {"bias": values(7)}, "bias first dim should be same"),
            (values(2, 8), {"bias": values(1, 8)}, "bias should be 1D"),
            (values(2, 8), {"group_count": 3}, "8 experts in 3 groups"),
            (values(2, 8), {"group_count": 4}, "more than 2"),
            (values(2, 8), {"k_group": 2}, "k_group is 2"),
            (values(2, 8), {"k": 9}, "k is 9"),
            (values(2, 8), {"k": 5, "group_count": 2}, "1 groups have 4 experts"),
            (values(2, 8), {"norm_type": 2}, "norm_type is 2"),
            (values(2, 8), {"group_select_mode": 2}, "group_select_mode is 2"),
            (values(1, 2052), {}, "at most 2048"),
            (values(1, 300), {"group_count": 100}, "aligned to 32"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, x, options, message):
        arguments = {name: each.npu() if isinstance(each, torch.Tensor) else each for name, each in options.items()}
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_moe_gating_top_k(x.npu(), arguments.pop("k", 1), **arguments)


class TestMoeGatingTopKSoftmax:
    """The rules: op-plugin, op_plugin/ops/opapi/MoeGatingTopKSoftmaxKernelNpuOpApi.cpp, and its test."""

    def test_gives_weights_experts_and_the_rows_column_by_column(self, torch_npu):
        x = values(3, 10, dtype=torch.float16)
        weights, experts, rows = torch_npu.npu_moe_gating_top_k_softmax(x.npu(), k=2)
        expected = x.double().softmax(-1).topk(2)
        assert experts.tolist() == expected.indices.tolist()
        torch.testing.assert_close(weights.cpu().double(), expected.values, rtol=1e-3, atol=1e-3)
        assert rows.tolist() == [[0, 3], [1, 4], [2, 5]]

    def test_a_finished_row_gets_an_expert_that_there_is_not(self, torch_npu):
        _, experts, _ = torch_npu.npu_moe_gating_top_k_softmax(
            values(2, 6).npu(), torch.tensor([True, False]).npu(), k=2
        )
        assert experts[0].tolist() == [6, 6]
        assert max(experts[1].tolist()) < 6

    @pytest.mark.parametrize(
        ("x", "finished", "k", "message"),
        [
            (values(8), None, 1, "The x should be 2D or 3D"),
            (values(2, 8), None, 9, r"The k should be in \[0, 8\]"),
            (values(1, 2000), None, 1025, "at most 1024"),
            (values(2, 8), torch.zeros(2), 1, "bool tensor expected"),
            (values(2, 8), torch.zeros(3, dtype=torch.bool), 1, "finished has shape"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, x, finished, k, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_moe_gating_top_k_softmax(x.npu(), None if finished is None else finished.npu(), k=k)


class TestGroupedMatmul:
    """The rules: op-plugin, op_plugin/ops/opapi/GroupedMatmulKernelNpuOpApi.cpp and its page on npu_grouped_matmul."""

    X = values(6, 4, dtype=torch.float16)
    WEIGHT = values(3, 4, 5, dtype=torch.float16, seed=1)

    def expected(self, sizes):
        parts = self.X.double().split(sizes)
        return torch.cat([part @ weight for part, weight in zip(parts, self.WEIGHT.double(), strict=True)])

    @pytest.mark.parametrize(("numbers", "kind"), [([1, 1, 6], 0), ([1, 0, 5], 1)])
    def test_each_group_of_rows_meets_its_own_weight(self, torch_npu, numbers, kind):
        (out,) = torch_npu.npu_grouped_matmul(
            [self.X.npu()],
            [self.WEIGHT.npu()],
            group_list=torch.tensor(numbers).npu(),
            split_item=2,
            group_type=0,
            group_list_type=kind,
        )
        torch.testing.assert_close(out.cpu().double(), self.expected([1, 0, 5]), rtol=1e-2, atol=1e-2)

    def test_rows_of_no_group_have_no_number(self, torch_npu):
        (out,) = torch_npu.npu_grouped_matmul(
            [self.X.npu()], [self.WEIGHT.npu()], group_list=torch.tensor([1, 2, 4]).npu(), split_item=3, group_type=0
        )
        assert out.shape == (6, 5)
        assert out.cpu()[4:].isnan().all()
        assert not out.cpu()[:4].isnan().any()

    def test_several_results_need_the_sizes_on_the_host_and_wait_for_each(self, torch_npu):
        ends = torch.tensor([1, 2, 6]).npu()
        weights = [weight.npu() for weight in self.WEIGHT]
        with emulated_npu.record() as log:
            out = torch_npu.npu_grouped_matmul([self.X.npu()], weights, group_list=ends, split_item=0, group_type=0)
        assert [part.shape[0] for part in out] == [1, 1, 4]
        assert [copy.cause for copy in log.device_to_host] == ["npu_grouped_matmul"] * 3

    def test_a_list_of_numbers_is_on_the_host_already(self, torch_npu):
        weights = [weight.npu() for weight in self.WEIGHT]
        x = self.X.npu()
        with emulated_npu.record() as log:
            out = torch_npu.npu_grouped_matmul([x], weights, group_list=[1, 2, 6], split_item=0)
        assert len(out) == 3
        assert log.device_to_host == []

    def test_several_inputs_have_a_weight_each_and_a_bias_is_added(self, torch_npu):
        x = [self.X[:2].bfloat16().npu(), self.X[2:].bfloat16().npu()]
        weights = [weight.bfloat16().npu() for weight in self.WEIGHT[:2]]
        bias = [values(5).npu(), values(5, seed=2).npu()]
        out = torch_npu.npu_grouped_matmul(x, weights, bias=bias, split_item=0, group_type=-1)
        for part, factor, addend, result in zip(x, weights, bias, out, strict=True):
            expected = part.cpu().double() @ factor.cpu().double() + addend.cpu().double()
            torch.testing.assert_close(result.cpu().double(), expected, rtol=2e-2, atol=2e-2)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"group_type": None}, "Requires manual passing group_type"),
            ({"group_type": 1}, r"must be -1, 0 or 2, but now is \[1\]"),
            ({"split_item": 4}, r"Invalid value of split_item \[4\]"),
            ({"x": []}, "neither x nor weight could be empty"),
            ({"group_list": torch.tensor([3, 2, 6])}, "larger than or equal to 0"),
            ({"group_list": torch.tensor([1, 2, 7])}, "the groups have 7 rows, x 6"),
            ({"group_list": torch.tensor([3, 6])}, "groups of x, but 3 weights"),
            ({"group_list": torch.tensor([1, 2, 6]).int()}, "group_list is int32"),
            ({"weight": [values(3, 5, 5).half()]}, "do not multiply"),
            ({"weight": [values(3, 4, 5).bfloat16()]}, "the dtypes must be the same"),
            ({"bias": [values(3, 5)]}, "bias is torch.float32; beside x of torch.float16"),
            ({"split_item": 0, "group_list": None}, "the num of x tensors must equal"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, changes, message):
        call = {
            "x": [self.X],
            "weight": [self.WEIGHT],
            "group_list": torch.tensor([1, 2, 6]),
            "split_item": 2,
            "group_type": 0,
        } | changes
        arguments = {name: _on_the_device(value) for name, value in call.items()}
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_grouped_matmul(arguments.pop("x"), arguments.pop("weight"), **arguments)

    def test_quantised_products_are_not_emulated_and_say_so(self, torch_npu):
        with pytest.raises(NotImplementedError, match=r"scale is not emulated; add it to .*experts\.py"):
            torch_npu.npu_grouped_matmul(
                [self.X.npu()], [self.WEIGHT.npu()], scale=[values(3, 5).npu()], split_item=2, group_type=-1
            )


def _on_the_device(value):
    if isinstance(value, list):
        return [each.npu() for each in value]
    return value.npu() if isinstance(value, torch.Tensor) else value
