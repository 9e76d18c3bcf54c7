from __future__ import annotations

import pytest
import torch
from float64 import assert_close, packed_attention

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def tokens(*shape, dtype=torch.bfloat16, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def packed(torch_npu, q, k, v, ends, key_ends=None, **changes):
    call = {
        "input_layout": "TND",
        "num_heads": q.shape[1],
        "num_key_value_heads": k.shape[1],
        "actual_seq_lengths": ends,
        "actual_seq_lengths_kv": key_ends or ends,
        "scale": 0.1,
        **changes,
    }
    return torch_npu.npu_fused_infer_attention_score(q.npu(), k.npu(), v.npu(), **call)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("size", "value_size"), [(64, 64), (128, 128), (192, 128), (192, 192)])
def test_packed_sequences_end_where_the_cumulative_lists_say(torch_npu, dtype, size, value_size):
    q, k, v = tokens(9, 2, size, dtype=dtype), tokens(9, 2, size, seed=1, dtype=dtype), None
    v = tokens(9, 2, value_size, seed=2, dtype=dtype)
    out, lse = packed(torch_npu, q, k, v, [4, 9])
    assert_close(out, packed_attention(q, k, v, [4, 5], 0.1)[0])
    assert lse.shape == (0,)


def test_the_log_sum_is_returned_when_asked_for(torch_npu):
    q, k = tokens(5, 2, 128), tokens(5, 2, 128, seed=1)
    lse = packed(torch_npu, q, k, k, [2, 5], softmax_lse_flag=True)[1]
    assert lse.shape == (5, 2, 1)
    assert_close(lse[..., 0], packed_attention(q, k, k, [2, 3], 0.1)[1])


def test_scale_defaults_to_one(torch_npu):
    q = tokens(4, 1, 128)
    call = {"input_layout": "TND", "num_heads": 1, "actual_seq_lengths": [4], "actual_seq_lengths_kv": [4]}
    out, _ = torch_npu.npu_fused_infer_attention_score(q.npu(), q.npu(), q.npu(), **call)
    assert_close(out, packed_attention(q, q, q, [4], 1.0)[0])


def test_query_and_key_lengths_may_differ(torch_npu):
    q, k = tokens(3, 1, 128), tokens(7, 1, 128, seed=1)
    out, _ = packed(torch_npu, q, k, k, [1, 3], [4, 7])
    assert_close(out, packed_attention(q, k, k, [1, 2], 0.1, [4, 3])[0])


def test_grouped_heads_need_no_repetition(torch_npu):
    q, k = tokens(4, 4, 128), tokens(4, 2, 128, seed=1)
    assert_close(packed(torch_npu, q, k, k, [4])[0], packed_attention(q, k, k, [4], 0.1)[0])


def test_heads_first_on_the_way_out(torch_npu):
    q = tokens(5, 2, 128)
    plain, turned = packed(torch_npu, q, q, q, [5])[0], packed(torch_npu, q, q, q, [5], input_layout="TND_NTD")[0]
    assert torch.equal(turned.cpu(), plain.cpu().transpose(0, 1))


@pytest.mark.parametrize(
    ("layout", "into", "outof"),
    [
        ("BSND", lambda t: t, lambda t: t),
        ("BNSD", lambda t: t.transpose(1, 2), lambda t: t.transpose(1, 2)),
        ("BSH", lambda t: t.flatten(2), lambda t: t.flatten(2)),
        ("BNSD_BSND", lambda t: t.transpose(1, 2), lambda t: t),
        ("BSND_NBSD", lambda t: t, lambda t: t.permute(2, 0, 1, 3)),
        ("BNSD_NBSD", lambda t: t.transpose(1, 2), lambda t: t.permute(2, 0, 1, 3)),
    ],
)
def test_padded_layouts(torch_npu, layout, into, outof):
    q, k = tokens(2, 5, 2, 128), tokens(2, 5, 2, 128, seed=1)
    expected = packed_attention(q.flatten(0, 1), k.flatten(0, 1), k.flatten(0, 1), [5, 5], 0.1)[0]
    arranged = [into(t).contiguous().npu() for t in (q, k, k)]
    out, _ = torch_npu.npu_fused_infer_attention_score(*arranged, input_layout=layout, num_heads=2, scale=0.1)
    assert_close(out, outof(expected.view(2, 5, 2, 128)))


def test_lengths_of_a_padded_layout_hide_the_padding(torch_npu):
    q = tokens(2, 4, 1, 128)
    out, _ = torch_npu.npu_fused_infer_attention_score(
        *[q.npu()] * 3, input_layout="BSND", num_heads=1, scale=0.1,
        actual_seq_lengths=[2, 4], actual_seq_lengths_kv=[2, 4],
    )  # fmt: skip
    assert_close(out[0, :2], packed_attention(*[q[0, :2]] * 3, [2], 0.1)[0])
    assert out[0, 2:].abs().sum().item() == 0


class TestLatent:
    """Latent attention of decode: 512-wide keys that are the values too, a rope part, a paged cache."""

    def call(self, torch_npu, layout, q, q_rope, cache, rope_cache, table, lengths, **changes):
        heads = 4
        return torch_npu.npu_fused_infer_attention_score(
            q.npu(), cache.npu(), cache.npu(), query_rope=q_rope.npu(), key_rope=rope_cache.npu(),
            input_layout=layout, num_heads=heads, num_key_value_heads=1, scale=0.1, block_table=table.npu(),
            block_size=16, actual_seq_lengths_kv=lengths, **changes,
        )[0]  # fmt: skip

    @pytest.fixture
    def parts(self):
        cache, rope = tokens(6, 1, 16, 512, seed=3), tokens(6, 1, 16, 64, seed=4)
        table = torch.tensor([[5, 0], [2, 4]], dtype=torch.int32)
        return tokens(2, 4, 1, 512), tokens(2, 4, 1, 64, seed=1), cache, rope, table

    def expected(self, parts, lengths):
        q, q_rope, cache, rope, table = parts
        out = []
        for index, length in enumerate(lengths):
            keys = torch.cat([cache[table[index].long()].flatten(0, 2), rope[table[index].long()].flatten(0, 2)], -1)
            query = torch.cat([q, q_rope], -1)[index].transpose(0, 1)
            out.append(packed_attention(query, keys[:length, None], keys[:length, None, :512], [1], 0.1, [length])[0])
        return torch.stack(out).transpose(1, 2)

    def test_blocks_of_the_table_in_its_order(self, torch_npu, parts):
        q, q_rope, cache, rope, table = parts
        out = self.call(torch_npu, "BNSD", q, q_rope, cache, rope, table, [20, 16])
        assert_close(out, self.expected(parts, [20, 16]))

    def test_batch_goes_behind_the_heads_on_the_way_out(self, torch_npu, parts):
        q, q_rope, cache, rope, table = parts
        out = self.call(torch_npu, "BNSD_NBSD", q, q_rope, cache, rope, table, [20, 7])
        assert_close(out, self.expected(parts, [20, 7]).transpose(0, 1))

    def test_a_fractal_cache_is_read_in_columns_of_16(self, torch_npu, parts):
        q, q_rope, cache, rope, table = parts

        def fractal(t):
            return t.unflatten(3, (-1, 16)).permute(0, 1, 3, 2, 4).contiguous()

        out = self.call(torch_npu, "BNSD", q, q_rope, fractal(cache), fractal(rope), table, [20, 16])
        assert_close(out, self.expected(parts, [20, 16]))

    def test_packed_queries_see_what_came_before_them(self, torch_npu):
        cache, rope = tokens(3, 1, 16, 512, seed=3), tokens(3, 1, 16, 64, seed=4)
        q, q_rope = tokens(3, 4, 512), tokens(3, 4, 64, seed=1)
        mask = torch.ones(2048, 2048, dtype=torch.bool).triu(1).npu()
        table = torch.tensor([[1], [2]], dtype=torch.int32)
        out = self.call(
            torch_npu, "TND_NTD", q, q_rope, cache, rope, table, [10, 4],
            actual_seq_lengths=[2, 3], sparse_mode=3, atten_mask=mask,
        )  # fmt: skip
        query = torch.cat([q, q_rope], -1)
        keys = torch.cat([cache, rope], -1)[:, 0]
        first = packed_attention(
            query[:2], keys[1][:10, None], keys[1][:10, None, :512], [2], 0.1, [10], lambda i, j, n, m: j <= i + m - n
        )[0]
        second = packed_attention(query[2:], keys[2][:4, None], keys[2][:4, None, :512], [1], 0.1, [4])[0]
        assert_close(out, torch.cat([first, second]).transpose(0, 1))

    def test_a_strided_query_is_taken(self, torch_npu, parts):
        q, q_rope, cache, rope, table = parts
        strided = q.transpose(1, 3).contiguous().npu().transpose(1, 3)
        out = self.call(torch_npu, "BNSD", strided, q_rope, cache, rope, table, [20, 16])
        assert_close(out, self.expected(parts, [20, 16]))

    def test_a_rope_part_of_another_size_is_refused(self, torch_npu, parts):
        q, _, cache, rope, table = parts
        with pytest.raises(RuntimeError, match="query_rope has head size 32; the op takes 64"):
            self.call(torch_npu, "BNSD", q, tokens(2, 4, 1, 32), cache, rope, table, [1, 1])

    def test_more_keys_than_the_table_has_blocks_are_refused(self, torch_npu, parts):
        q, q_rope, cache, rope, table = parts
        with pytest.raises(RuntimeError, match="sequence 0 has 40 keys, more than 2 blocks of 16"):
            self.call(torch_npu, "BNSD", q, q_rope, cache, rope, table, [40, 1])


class TestOut:
    def run(self, torch_npu, out, **changes):
        q = tokens(4, 2, 128).npu()
        call = {
            "input_layout": "TND", "num_heads": 2, "scale": 0.1,
            "actual_seq_lengths": [4], "actual_seq_lengths_kv": [4], **changes,
        }  # fmt: skip
        workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(q, q, q, **call)
        plain = torch_npu.npu_fused_infer_attention_score(q, q, q, **call)
        given = torch_npu.npu_fused_infer_attention_score.out(q, q, q, **call, workspace=workspace, out=out)
        return plain, given

    def test_writes_into_the_tensors_it_is_given_and_returns_them(self, torch_npu):
        out = [torch.empty(4, 2, 128, dtype=torch.bfloat16, device="npu"), torch.empty(1, device="npu")]
        plain, given = self.run(torch_npu, out)
        assert given[0] is out[0]
        assert torch.equal(out[0].cpu(), plain[0].cpu())

    def test_the_log_sum_is_written_too_when_asked_for(self, torch_npu):
        out = [torch.empty(4, 2, 128, dtype=torch.bfloat16, device="npu"), torch.empty(4, 2, 1, device="npu")]
        plain, _ = self.run(torch_npu, out, softmax_lse_flag=True)
        assert torch.equal(out[1].cpu(), plain[1].cpu())

    def test_the_workspace_is_bytes_on_the_device(self, torch_npu):
        q = tokens(4, 2, 128).npu()
        workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(q, q, q, num_heads=2)
        assert (workspace.dtype, workspace.device.type) == (torch.uint8, "npu")

    def test_an_output_of_another_shape_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match=r"out\[0\] has shape \[4, 2, 64\]; expected \[4, 2, 128\]"):
            self.run(
                torch_npu, [torch.empty(4, 2, 64, dtype=torch.bfloat16, device="npu"), torch.empty(1, device="npu")]
            )


def test_the_second_version_computes_the_same_under_its_own_names(torch_npu):
    q = tokens(4, 2, 128).npu()
    first = packed(torch_npu, q, q, q, [1, 4], softmax_lse_flag=True)
    call = {
        "input_layout": "TND", "num_query_heads": 2, "num_key_value_heads": 2, "softmax_scale": 0.1,
        "actual_seq_qlen": [1, 4], "actual_seq_kvlen": [1, 4], "return_softmax_lse": True,
    }  # fmt: skip
    second = torch_npu.npu_fused_infer_attention_score_v2(q, q, q, **call)
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(first, second, strict=True))
    out = [torch.empty_like(q), torch.empty(4, 2, 1, device="npu")]
    workspace = torch_npu._npu_fused_infer_attention_score_v2_get_max_workspace(q, q, q, **call)
    torch_npu.npu_fused_infer_attention_score_v2.out(q, q, q, **call, workspace=workspace, out=out)
    assert torch.equal(out[0].cpu(), first[0].cpu())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actual_seq_lengths": [0, 2, 6]}, "starts with 0.*without a leading 0"),
        ({"actual_seq_lengths": [2, 5]}, "last entry of actual_seq_lengths is 5, but there are 6 tokens"),
        ({"actual_seq_lengths": [4, 2, 6]}, "must be cumulative and not decrease"),
        ({"actual_seq_lengths": None}, "actual_seq_lengths must be given"),
        ({"actual_seq_lengths_kv": None}, "actual_seq_lengths_kv must be given"),
        ({"actual_seq_lengths_kv": [6]}, "query has 2 sequences, key and value 1"),
        ({"actual_seq_lengths": [6] * 4097}, "takes 1 to 4096 sequences"),
        ({"num_heads": 0}, "num_heads should be greater than 0"),
        ({"num_heads": 4}, "query has 2 heads, but num_heads is 4"),
        ({"num_key_value_heads": 1}, "key has 2 heads and value 2, but num_key_value_heads is 1"),
        ({"input_layout": "DNT"}, "layout 'DNT' is none of"),
        ({"sparse_mode": 3}, "sparse_mode 3 needs an atten_mask"),
        ({"sparse_mode": 5}, "sparse_mode 5 is not one of"),
    ],
)
def test_wrong_calls_are_refused(torch_npu, changes, message):
    q = tokens(6, 2, 128)
    with pytest.raises(RuntimeError, match=message):
        packed(torch_npu, q, q, q, changes.pop("actual_seq_lengths", [2, 6]), [2, 6], **changes)


@pytest.mark.parametrize("size", [72, 80, 96, 256])
def test_a_packed_head_size_that_has_to_be_padded_is_refused(torch_npu, size):
    q = tokens(2, 1, size)
    with pytest.raises(RuntimeError, match=f"head sizes {size} .* are not taken with TND; pad them to 128"):
        packed(torch_npu, q, q, q, [2])


@pytest.mark.parametrize("name", ["key", "value"])
def test_a_key_or_value_that_is_not_contiguous_is_refused(torch_npu, name):
    given = {"query": tokens(2, 4, 128), "key": tokens(2, 4, 128), "value": tokens(2, 4, 128)}
    given[name] = tokens(2, 128, 4).transpose(1, 2)
    with pytest.raises(RuntimeError, match=f"{name} is not contiguous"):
        packed(torch_npu, given["query"], given["key"], given["value"], [2])


def test_float32_is_refused(torch_npu):
    q = tokens(2, 1, 128, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="query is float32; the op takes float16, bfloat16"):
        packed(torch_npu, q, q, q, [2])


def test_quantised_attention_is_not_made_up(torch_npu):
    q = tokens(2, 1, 128)
    with pytest.raises(
        NotImplementedError, match=r"quant_scale1 is not emulated; add it to .*fused_infer_attention\.py"
    ):
        packed(torch_npu, q, q, q, [2], quant_scale1=torch.ones(1).npu())


def test_lengths_in_a_device_tensor_make_the_host_wait_for_each_of_them(torch_npu):
    q = tokens(6, 1, 128).npu()
    ends = torch.tensor([2, 6]).npu()
    with emulated_npu.record() as log:
        packed(torch_npu, q, q, q, ends, [2, 6])
    assert log.stalls == 2


def test_prompt_flash_attention_attends_in_full_without_a_mask(torch_npu):
    q = tokens(1, 2, 5, 128)
    out = torch_npu.npu_prompt_flash_attention(*[q.npu()] * 3, num_heads=2, scale_value=0.1, input_layout="BNSD")
    expected = packed_attention(*[q[0].transpose(0, 1)] * 3, [5], 0.1)[0]
    assert_close(out[0].transpose(0, 1), expected)
