from __future__ import annotations

import pytest
import torch
from float64 import assert_close

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestTransposeBatchmatmul:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_the_batch_comes_second_on_the_way_out(self, torch_npu, dtype):
        x, weight = values(3, 4, 8, dtype=dtype), values(3, 8, 5, dtype=dtype, seed=1)
        out = torch_npu.npu_transpose_batchmatmul(x.npu(), weight.npu(), perm_y=(1, 0, 2))
        scaled = torch.einsum("bmk,bkn->mbn", x.double(), weight.double())
        torch.testing.assert_close(out.cpu().double(), scaled, rtol=2e-2, atol=4e-2)

    def test_the_input_may_come_with_its_batch_second(self, torch_npu):
        x, weight = values(4, 3, 8), values(3, 8, 5, seed=1)
        out = torch_npu.npu_transpose_batchmatmul(x.npu(), weight.npu(), perm_x1=[1, 0, 2])
        assert_close(out, torch.einsum("mbk,bkn->mbn", x.double(), weight.double()))

    def test_the_batch_can_be_split_for_the_next_step(self, torch_npu):
        x, weight = values(4, 3, 8), values(4, 8, 5, seed=1)
        whole = torch_npu.npu_transpose_batchmatmul(x.npu(), weight.npu()).cpu()
        split = torch_npu.npu_transpose_batchmatmul(x.npu(), weight.npu(), batch_split_factor=2).cpu()
        assert torch.equal(split, torch.stack([whole[:, :2].flatten(1), whole[:, 2:].flatten(1)]))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"perm_x1": [2, 1, 0]}, "perm_x1 should be"),
            ({"perm_x2": [1, 0, 2]}, "perm_x2 should be"),
            ({"perm_y": [0, 1, 2]}, "perm_y should be"),
            ({"batch_split_factor": 2}, "a batch of 3 is not divisible"),
        ],
    )
    def test_wrong_calls_are_refused(self, torch_npu, changes, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_transpose_batchmatmul(values(3, 4, 8).npu(), values(3, 8, 5).npu(), **changes)

    def test_a_bias_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="bias is not supported"):
            torch_npu.npu_transpose_batchmatmul(values(3, 4, 8).npu(), values(3, 8, 5).npu(), bias=values(5).npu())


class TestAttentionUpdate:
    def test_merges_parts_by_their_log_sums(self, torch_npu):
        scores, values_ = values(6, 10), values(10, 16, seed=1)
        whole = torch.softmax(scores.double(), -1) @ values_.double()
        spans = (slice(0, 4), slice(4, 10))
        lse = [torch.logsumexp(scores[:, span], -1).npu() for span in spans]
        out = [(torch.softmax(scores[:, span], -1) @ values_[span]).npu() for span in spans]
        merged, together = torch_npu.npu_attention_update(lse, out, 1)
        assert_close(merged, whole)
        assert_close(together, torch.logsumexp(scores.double(), -1))

    def test_lists_of_different_lengths_are_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="1 lse for 2 local_out"):
            torch_npu.npu_attention_update([values(2).npu()], [values(2, 4).npu()] * 2, 0)


class TestQuantisation:
    def test_a_scale_for_each_token(self, torch_npu):
        x = values(3, 8, dtype=torch.float16)
        quantised, scale = torch_npu.npu_dynamic_quant(x.npu())
        assert (quantised.dtype, scale.dtype, scale.shape) == (torch.int8, torch.float32, (3,))
        assert_close(scale, x.double().abs().amax(-1) / 127)
        off = (quantised.cpu().double() * scale.cpu().double()[:, None] - x.double()).abs()
        assert (off <= scale.cpu()[:, None] * 0.51).all()

    def test_smoothing_comes_before(self, torch_npu):
        x, smooth = values(3, 8, dtype=torch.bfloat16), torch.full((8,), 2.0, dtype=torch.bfloat16)
        plain = torch_npu.npu_dynamic_quant((x * 2).npu())
        smoothed = torch_npu.npu_dynamic_quant(x.npu(), smooth_scales=smooth.npu())
        assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(plain, smoothed, strict=True))

    @pytest.mark.parametrize(
        ("division", "axis", "shape"), [(True, 0, (3, 1)), (True, 1, (1, 8)), (False, -1, (1, 8)), (False, -2, (3, 1))]
    )
    def test_scales_along_an_axis(self, torch_npu, division, axis, shape):
        x, scales = values(3, 8) * 10, values(*shape, seed=1).abs() + 0.5
        out = torch_npu.npu_quantize(x.npu(), scales.flatten().npu(), None, torch.qint8, axis, division)
        scaled = x.double() / scales.double() if division else x.double() * scales.double()
        assert out.dtype == torch.int8
        assert (out.cpu().double() - scaled.clamp(-128, 127)).abs().max() <= 0.51

    def test_zero_points_are_added(self, torch_npu):
        out = torch_npu.npu_quantize(
            torch.zeros(2, 2).npu(), torch.ones(1).npu(), torch.tensor([7.0]).npu(), torch.qint8, 1, False
        )
        assert out.tolist() == [[7, 7], [7, 7]]

    def test_another_dtype_is_not_made_up(self, torch_npu):
        with pytest.raises(
            NotImplementedError, match=r"npu_quantize: dtype .* is not emulated; add it to .*quantisation"
        ):
            torch_npu.npu_quantize(values(2, 2).npu(), torch.ones(1).npu(), None, torch.quint4x2)


class TestDynamicBlockQuant:
    """The rules: op-plugin, op_plugin/ops/opapi/DynamicBlockQuantNpuOpApi.cpp, its page and its test."""

    @pytest.mark.parametrize("shape", [(3, 256), (2, 3, 200)])
    def test_each_block_of_128_columns_has_its_own_scale(self, torch_npu, shape):
        x = values(*shape, dtype=torch.float16)
        quantised, scale = torch_npu.npu_dynamic_block_quant(x.npu())
        assert quantised.dtype == torch.int8
        assert scale.shape == (*shape[:-1], 2)
        wide = scale.cpu().repeat_interleave(128, -1)[..., : shape[-1]]
        assert (quantised.cpu() * wide - x.float()).abs().max() <= wide.max() / 2 + 1e-6
        torch.testing.assert_close(scale.cpu()[..., 0], x[..., :128].float().abs().amax(-1) / 127)

    def test_no_scale_is_below_the_smallest(self, torch_npu):
        _, scale = torch_npu.npu_dynamic_block_quant(torch.zeros(1, 128).half().npu(), min_scale=0.5)
        assert scale.tolist() == [[0.5]]

    @pytest.mark.parametrize(
        ("x", "options", "message"),
        [
            (values(128).half(), {}, "2 or 3 dimensional"),
            (values(2, 128), {}, "x is float32"),
            (values(2, 128).half(), {"round_mode": "floor"}, "round_mode is 'floor'"),
            (values(2, 128).half(), {"col_block_size": 64}, "blocks of 1 by 64"),
            (values(2, 128).half(), {"row_block_size": 2}, "blocks of 2 by 128"),
            (values(2, 128).half(), {"min_scale": -1.0}, "min_scale is -1.0"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, x, options, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_dynamic_block_quant(x.npu(), **options)
