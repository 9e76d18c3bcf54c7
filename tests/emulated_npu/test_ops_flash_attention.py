from __future__ import annotations

import math

import pytest
import torch
from float64 import assert_close, packed_attention

import emulated_npu

HALF = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def tokens(*shape, dtype=torch.float16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def lengths(*values):
    return torch.tensor(values, dtype=torch.int32)


def unpad(torch_npu, query, key, value, seq_len, **changes):
    on_npu = [tensor.npu() if tensor.device.type == "cpu" else tensor for tensor in (query, key, value)]
    out = changes.pop("out", None)
    if out is None:
        out = torch.empty(*query.shape[:2], value.shape[2], dtype=query.dtype, device="npu")
    call = {
        "scale_value": query.shape[2] ** -0.5,
        "num_heads": query.shape[1],
        "num_kv_heads": key.shape[1],
        **changes,
    }
    torch_npu._npu_flash_attention_unpad(
        query=on_npu[0], key=on_npu[1], value=on_npu[2], seq_len=seq_len, out=out, **call
    )
    return out


class TestUnpad:
    @pytest.mark.parametrize("dtype", HALF)
    @pytest.mark.parametrize("size", [64, 72, 128, 256])
    def test_attends_within_each_sequence(self, torch_npu, dtype, size):
        q, k, v = (tokens(11, 2, size, dtype=dtype, seed=seed) for seed in range(3))
        out = unpad(torch_npu, q, k, v, lengths(4, 7))
        assert_close(out, packed_attention(q, k, v, [4, 7], size**-0.5)[0])

    @pytest.mark.parametrize("kv_heads", [1, 2])
    def test_key_heads_are_shared_by_groups_of_query_heads(self, torch_npu, kv_heads):
        q, k, v = tokens(6, 4, 64), tokens(6, kv_heads, 64, seed=1), tokens(6, kv_heads, 64, seed=2)
        out = unpad(torch_npu, q, k, v, lengths(2, 4))
        assert_close(out, packed_attention(q, k, v, [2, 4], 0.125)[0])

    def test_an_empty_sequence_takes_part_with_nothing(self, torch_npu):
        q = tokens(5, 2, 64)
        assert torch.equal(
            unpad(torch_npu, q, q, q, lengths(0, 2, 0, 3)).cpu(), unpad(torch_npu, q, q, q, lengths(2, 3)).cpu()
        )

    def test_writes_into_a_view_of_a_larger_output(self, torch_npu):
        q = tokens(5, 2, 64)
        room = torch.zeros(9, 2, 64, dtype=torch.float16, device="npu")
        unpad(torch_npu, q, q, q, lengths(5), out=room[2:7])
        assert torch.equal(room[2:7].cpu(), unpad(torch_npu, q, q, q, lengths(5)).cpu())
        assert room[:2].abs().sum().item() == 0 == room[7:].abs().sum().item()

    def test_the_result_does_not_depend_on_how_the_inputs_lie_in_memory(self, torch_npu):
        q = tokens(6, 2, 64)
        strided = torch.randn(6, 2, 128, dtype=torch.float16)[..., ::2].copy_(q).npu()
        assert torch.equal(
            unpad(torch_npu, strided, strided, strided, lengths(6)).cpu(), unpad(torch_npu, q, q, q, lengths(6)).cpu()
        )

    def test_lengths_on_the_device_are_refused(self, torch_npu):
        q = tokens(4, 1, 64)
        with pytest.raises(RuntimeError, match=r"_npu_flash_attention_unpad: seq_len is on npu:0"):
            unpad(torch_npu, q, q, q, lengths(4).npu())

    @pytest.mark.parametrize(
        ("seq_len", "message"),
        [
            (torch.tensor([4, 2]), "seq_len is int64; the op takes int32"),
            (lengths(4, 6), "add up to 10, but there are 6 tokens; .*not cumulative"),
            (lengths(3), "add up to 3, but there are 6 tokens"),
            (lengths(7, -1), "negative lengths"),
            (lengths(6).view(1, 1), "seq_len has 2 dimensions"),
        ],
    )
    def test_wrong_lengths_are_refused(self, torch_npu, seq_len, message):
        q = tokens(6, 1, 64)
        with pytest.raises(RuntimeError, match=message):
            unpad(torch_npu, q, q, q, seq_len)

    def test_a_head_above_576_is_refused(self, torch_npu):
        q = tokens(2, 1, 584)
        with pytest.raises(RuntimeError, match="head size 584; the op takes 1 to 576"):
            unpad(torch_npu, q, q, q, lengths(2))

    def test_float32_is_refused(self, torch_npu):
        q = tokens(2, 1, 64, dtype=torch.float32)
        with pytest.raises(RuntimeError, match="query is float32; the op takes float16, bfloat16"):
            unpad(torch_npu, q, q, q, lengths(2))

    def test_different_dtypes_are_refused(self, torch_npu):
        q, k = tokens(2, 1, 64), tokens(2, 1, 64, dtype=torch.bfloat16)
        with pytest.raises(RuntimeError, match="dtypes must be the same"):
            unpad(torch_npu, q, k, q, lengths(2))

    def test_an_output_that_is_not_contiguous_is_refused(self, torch_npu):
        q = tokens(2, 2, 64)
        out = torch.empty(2, 64, 2, dtype=torch.float16, device="npu").transpose(1, 2)
        with pytest.raises(RuntimeError, match="out is not contiguous"):
            unpad(torch_npu, q, q, q, lengths(2), out=out)

    def test_a_number_of_key_heads_that_the_keys_do_not_have_is_refused(self, torch_npu):
        q = tokens(2, 4, 64)
        with pytest.raises(RuntimeError, match=r"2 heads \(num_kv_heads\)"):
            unpad(torch_npu, q, q, q, lengths(2), num_kv_heads=2)

    def test_heads_that_do_not_divide_are_refused(self, torch_npu):
        q, k = tokens(2, 4, 64), tokens(2, 3, 64)
        with pytest.raises(RuntimeError, match="must be a multiple of the key heads"):
            unpad(torch_npu, q, k, k, lengths(2))

    def test_a_cpu_tensor_beside_device_tensors_is_refused(self, torch_npu):
        q = tokens(2, 1, 64)
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            torch_npu._npu_flash_attention_unpad(
                q.npu(), q, q.npu(), lengths(2), 1.0, 1, 1, torch.empty_like(q, device="npu")
            )

    def test_cpu_tensors_alone_are_refused(self, torch_npu):
        q = tokens(2, 1, 64)
        with pytest.raises(NotImplementedError, match="'CPU' backend"):
            torch_npu._npu_flash_attention_unpad(q, q, q, lengths(2), 1.0, 1, 1, torch.empty_like(q))

    def test_one_call_is_one_kernel_and_no_copy(self, torch_npu):
        q = tokens(4, 1, 64).npu()
        out = torch.empty_like(q)
        with emulated_npu.record() as log:
            unpad(torch_npu, q, q, q, lengths(4), out=out)
        assert (log.kernels, len(log.device_to_host), log.stalls) == (1, 0, 0)

    def test_the_second_version_computes_the_same(self, torch_npu):
        q = tokens(4, 1, 64).npu()
        first, second = torch.empty_like(q), torch.empty_like(q)
        call = (q, q, q, lengths(1, 3), 0.125, 1, 1)
        torch_npu._npu_flash_attention_unpad(*call, first)
        torch_npu._npu_flash_attention_unpad_v2(*call, kernel_type=2, out=second)
        assert torch.equal(first.cpu(), second.cpu())


class TestMasked:
    @pytest.mark.parametrize("hidden", [1.0, -math.inf, -10000.0])
    def test_hides_what_the_mask_marks(self, torch_npu, hidden):
        q, k, v = (tokens(7, 2, 64, seed=seed) for seed in range(3))
        mask = torch.full((8, 8), hidden).triu(1).half()
        out = torch.empty(7, 2, 64, dtype=torch.float16, device="npu")
        torch_npu._npu_flash_attention(q.npu(), k.npu(), v.npu(), mask.npu(), lengths(3, 4), 0.125, 2, 2, out)
        causal = packed_attention(q, k, v, [3, 4], 0.125, visible=lambda i, j, n, m: j <= i)[0]
        assert_close(out, causal)

    def test_a_mask_that_is_a_bias_is_not_made_up(self, torch_npu):
        q = tokens(2, 1, 64).npu()
        with pytest.raises(
            NotImplementedError, match=r"_npu_flash_attention: a mask that is a bias.*flash_attention\.py"
        ):
            torch_npu._npu_flash_attention(
                q, q, q, torch.full((2, 2), -0.5).half().npu(), lengths(2), 1.0, 1, 1, torch.empty_like(q)
            )


def fusion(torch_npu, q, k, v, heads, layout, **changes):
    return torch_npu.npu_fusion_attention(q.npu(), k.npu(), v.npu(), heads, layout, **changes)


class TestFusionAttention:
    @pytest.mark.parametrize("dtype", [*HALF, torch.float32])
    @pytest.mark.parametrize("size", [72, 128])
    def test_packed_sequences_end_where_the_cumulative_lists_say(self, torch_npu, dtype, size):
        q, k, v = (tokens(9, 2, size, dtype=dtype, seed=seed) for seed in range(3))
        out = fusion(torch_npu, q, k, v, 2, "TND", actual_seq_qlen=[4, 9], actual_seq_kvlen=[4, 9], scale=0.1)[0]
        assert_close(out, packed_attention(q, k, v, [4, 5], 0.1)[0])

    @pytest.mark.parametrize("layout", ["BSH", "SBH", "BSND", "BNSD"])
    def test_every_layout_computes_the_same(self, torch_npu, layout):
        q, k, v = (tokens(2, 5, 2, 64, dtype=torch.float32, seed=seed) for seed in range(3))
        expected = packed_attention(*(t.flatten(0, 1) for t in (q, k, v)), [5, 5], 0.1)[0].view(2, 5, 2, 64)

        def arranged(t):
            return {
                "BSH": lambda: t.flatten(2),
                "SBH": lambda: t.flatten(2).transpose(0, 1),
                "BSND": lambda: t,
                "BNSD": lambda: t.transpose(1, 2),
            }[layout]()

        out = fusion(torch_npu, arranged(q), arranged(k), arranged(v), 2, layout, scale=0.1)[0]
        assert_close(out, arranged(expected))

    def test_grouped_heads_need_no_repetition(self, torch_npu):
        q, k = tokens(4, 4, 64), tokens(4, 2, 64, seed=1)
        out = fusion(torch_npu, q, k, k, 4, "TND", actual_seq_qlen=[4], actual_seq_kvlen=[4], scale=0.1)[0]
        assert_close(out, packed_attention(q, k, k, [4], 0.1)[0])

    def test_scale_defaults_to_one(self, torch_npu):
        q = tokens(3, 1, 64, dtype=torch.float32)
        ends = {"actual_seq_qlen": [3], "actual_seq_kvlen": [3]}
        assert_close(fusion(torch_npu, q, q, q, 1, "TND", **ends)[0], packed_attention(q, q, q, [3], 1.0)[0])

    def test_softmax_statistics_give_the_log_sum(self, torch_npu):
        q, k = tokens(1, 2, 6, 64, dtype=torch.float32), tokens(1, 2, 6, 64, dtype=torch.float32, seed=1)
        _, maximum, total, nothing, *_ = fusion(torch_npu, q, k, k, 2, "BNSD", scale=0.1)
        expected = packed_attention(q[0].transpose(0, 1), k[0].transpose(0, 1), k[0].transpose(0, 1), [6], 0.1)[1]
        assert maximum.shape == total.shape == (1, 2, 6, 8)
        assert nothing.shape == (0,)
        assert_close((maximum + total.log())[0, :, :, 3].cpu(), expected.T)

    def test_packed_statistics_are_ordered_as_asked(self, torch_npu):
        q = tokens(3, 2, 64, dtype=torch.float32)
        ends = {"actual_seq_qlen": [3], "actual_seq_kvlen": [3], "scale": 0.1}
        by_token = fusion(torch_npu, q, q, q, 2, "TND", softmax_layout="TND", **ends)[1].cpu()
        by_head = fusion(torch_npu, q, q, q, 2, "TND", **ends)[1].cpu()
        assert by_token.shape == by_head.shape == (3, 2, 8)
        assert torch.equal(by_head.view(2, 3, 8).transpose(0, 1), by_token)

    def test_a_sink_takes_part_in_the_sum_only(self, torch_npu):
        q = tokens(3, 1, 64, dtype=torch.float32)
        ends = {"actual_seq_qlen": [3], "actual_seq_kvlen": [3], "scale": 0.1}
        plain, sums = packed_attention(q, q, q, [3], 0.1)
        out = fusion(torch_npu, q, q, q, 1, "TND", sink=torch.zeros(1).npu(), **ends)[0]
        assert_close(out, plain * (sums.exp() / (sums.exp() + 1)).unsqueeze(-1))

    @pytest.mark.parametrize(
        ("mode", "visible"),
        [
            (2, lambda i, j, n, m: j <= i),
            (3, lambda i, j, n, m: j <= i + m - n),
        ],
    )
    def test_causal_modes(self, torch_npu, mode, visible):
        q, k = tokens(7, 1, 64, dtype=torch.float32), tokens(9, 1, 64, dtype=torch.float32, seed=1)
        mask = torch.ones(2048, 2048, dtype=torch.bool).triu(1).npu()
        out = fusion(
            torch_npu, q, k, k, 1, "TND", actual_seq_qlen=[3, 7], actual_seq_kvlen=[4, 9], scale=0.1,
            sparse_mode=mode, atten_mask=mask,
        )[0]  # fmt: skip
        assert_close(out, packed_attention(q, k, k, [3, 4], 0.1, [4, 5], visible)[0])

    def test_trailing_zeros_are_sequences_that_take_no_part(self, torch_npu):
        q = tokens(5, 1, 64)
        short = fusion(torch_npu, q, q, q, 1, "TND", actual_seq_qlen=[2, 5], actual_seq_kvlen=[2, 5])[0]
        long = fusion(torch_npu, q, q, q, 1, "TND", actual_seq_qlen=[2, 5, 0], actual_seq_kvlen=[2, 5, 0])[0]
        assert torch.equal(short.cpu(), long.cpu())

    @pytest.mark.parametrize(
        ("ends", "message"),
        [
            ([2, 3], "last entry of actual_seq_qlen is 3, but there are 5 tokens"),
            ([0, 2, 5], "starts with 0.*without a leading 0"),
            ([3, 2, 5], "must be cumulative"),
            (None, "must be provided"),
            ([*range(1, 5)] + [5] * 1021, "takes 1 to 1024 sequences"),
        ],
    )
    def test_wrong_ends_are_refused(self, torch_npu, ends, message):
        q = tokens(5, 1, 64)
        with pytest.raises(RuntimeError, match=message):
            fusion(torch_npu, q, q, q, 1, "TND", actual_seq_qlen=ends, actual_seq_kvlen=ends)

    def test_an_unknown_layout_is_refused(self, torch_npu):
        q = tokens(5, 1, 64)
        with pytest.raises(RuntimeError, match="Unsupported input_layout: NTD"):
            fusion(torch_npu, q, q, q, 1, "NTD")

    def test_a_larger_value_head_is_refused(self, torch_npu):
        q, v = tokens(2, 1, 64), tokens(2, 1, 128)
        with pytest.raises(RuntimeError, match="head sizes are 64, 64 and 128"):
            fusion(torch_npu, q, q, v, 1, "TND", actual_seq_qlen=[2], actual_seq_kvlen=[2])

    def test_dropout_is_not_made_up(self, torch_npu):
        q = tokens(2, 1, 64)
        with pytest.raises(NotImplementedError, match="dropout"):
            fusion(torch_npu, q, q, q, 1, "TND", actual_seq_qlen=[2], actual_seq_kvlen=[2], keep_prob=0.5)
