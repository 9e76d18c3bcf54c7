from __future__ import annotations

import pytest
import torch
from float64 import assert_close, attention, latent_rope, packed_attention, rms_normed

import emulated_npu

HALF = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.bfloat16, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestInterleaveRope:
    @pytest.mark.parametrize("dtype", HALF)
    def test_neighbours_turn_into_halves(self, torch_npu, dtype):
        x, cos, sin = (values(3, 4, 1, 64, dtype=dtype), *(values(3, 1, 1, 64, dtype=dtype, seed=s) for s in (1, 2)))
        assert_close(torch_npu.npu_interleave_rope(x.npu(), cos.npu(), sin.npu()), latent_rope(x, cos, sin))

    def test_one_position_may_serve_a_whole_sequence(self, torch_npu):
        x, cos = values(2, 1, 5, 64), values(2, 1, 1, 64, seed=1)
        assert_close(torch_npu.npu_interleave_rope(x.npu(), cos.npu(), cos.npu()), latent_rope(x, cos, cos))

    @pytest.mark.parametrize(
        ("x", "cos", "message"),
        [
            ((3, 4, 64), (3, 1, 64), "x has 3 dimensions"),
            ((3, 4, 1, 128), (3, 1, 1, 128), "x has size 128 in D; the op takes 64"),
            ((3, 4, 1, 64), (3, 4, 1, 64), "do not fit x .* N 1"),
            ((3, 4, 5, 64), (3, 1, 2, 64), "do not fit x"),
            ((3, 4, 1, 64), (1, 1, 1, 64), "do not fit x"),
        ],
    )
    def test_other_shapes_are_refused(self, torch_npu, x, cos, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_interleave_rope(values(*x).npu(), values(*cos).npu(), values(*cos).npu())

    def test_float32_is_refused(self, torch_npu):
        x = values(1, 1, 1, 64, dtype=torch.float32).npu()
        with pytest.raises(RuntimeError, match="x is float32; the op takes float16, bfloat16"):
            torch_npu.npu_interleave_rope(x, x, x)


class TestKvRmsnormRopeCache:
    TOKENS, BLOCK = 5, 4

    @pytest.fixture
    def parts(self):
        kv, gamma = values(self.TOKENS, 1, 1, 576), values(512, seed=1)
        return kv, gamma, values(self.TOKENS, 1, 1, 64, seed=2), values(self.TOKENS, 1, 1, 64, seed=3)

    def expected(self, parts):
        kv, gamma, cos, sin = parts
        return latent_rope(kv[..., 512:], cos, sin)[:, 0, 0], rms_normed(kv[..., :512], gamma, 1e-5)[:, 0, 0]

    def caches(self, blocks=3, block=BLOCK):
        return (
            torch.zeros(blocks, block, 1, 64, dtype=torch.bfloat16, device="npu"),
            torch.zeros(blocks, block, 1, 512, dtype=torch.bfloat16, device="npu"),
        )

    def call(self, torch_npu, parts, index, caches, mode="PA", **changes):
        moved = [part.npu() for part in parts]
        return torch_npu.npu_kv_rmsnorm_rope_cache(*moved, index.npu(), *caches, cache_mode=mode, **changes)

    @pytest.mark.parametrize("mode", ["PA", "PA_BNSD"])
    def test_fills_the_slots_of_both_caches_in_place(self, torch_npu, parts, mode):
        slots = torch.tensor([7, 0, 11, 3, 4])
        caches = self.caches()
        returned = self.call(torch_npu, parts, slots, caches, mode)
        assert returned[0] is caches[0]
        assert returned[1] is caches[1]
        for cache, expected in zip(caches, self.expected(parts), strict=True):
            assert_close(cache.view(12, -1)[slots.npu()], expected)

    def test_leaves_other_slots_alone_and_skips_negative_ones(self, torch_npu, parts):
        caches = self.caches()
        self.call(torch_npu, parts, torch.tensor([7, -1, -1, -1, 4]), caches)
        written = [index for index in range(12) if caches[1].view(12, -1)[index].abs().sum().item() > 0]
        assert written == [4, 7]

    def test_a_fractal_cache_keeps_columns_of_16_together(self, torch_npu, parts):
        slots = torch.tensor([6, 0, 9, 3, 5])
        caches = self.caches()
        self.call(torch_npu, parts, slots, caches, "PA_NZ")
        for cache, expected in zip(caches, self.expected(parts), strict=True):
            size = cache.shape[3]
            columns = cache.cpu().view(3, size // 16, self.BLOCK, 16)
            for token, slot in enumerate(slots.tolist()):
                row = columns[slot // self.BLOCK, :, slot % self.BLOCK].reshape(-1)
                assert_close(row, expected[token])

    def test_a_slot_per_block_of_tokens(self, torch_npu):
        kv, gamma, cos = values(1, 1, 6, 576), values(512, seed=1), values(1, 1, 6, 64, seed=2)
        caches = self.caches()
        moved = [part.npu() for part in (kv, gamma, cos, cos)]
        torch_npu.npu_kv_rmsnorm_rope_cache(*moved, torch.tensor([8, 0]).npu(), *caches, cache_mode="PA_BLK_BNSD")
        expected = rms_normed(kv[0, 0, :, :512], gamma, 1e-5)
        assert_close(caches[1].view(12, -1)[[8, 9, 10, 11, 0, 1]], expected)

    def test_an_offset_per_token_of_a_dense_cache(self, torch_npu):
        kv, gamma, cos = values(2, 1, 2, 576), values(512, seed=1), values(2, 1, 2, 64, seed=2)
        caches = (
            torch.zeros(2, 1, 8, 64, dtype=torch.bfloat16, device="npu"),
            torch.zeros(2, 1, 8, 512, dtype=torch.bfloat16, device="npu"),
        )
        moved = [part.npu() for part in (kv, gamma, cos, cos)]
        torch_npu.npu_kv_rmsnorm_rope_cache(*moved, torch.tensor([[3, 4], [0, 7]]).npu(), *caches)
        expected = rms_normed(kv[..., :512], gamma, 1e-5)[:, 0]
        assert_close(caches[1][0, 0, [3, 4]], expected[0])
        assert_close(caches[1][1, 0, [0, 7]], expected[1])

    def test_returns_rope_and_latent_when_asked_for(self, torch_npu, parts):
        _, _, rope, latent = self.call(torch_npu, parts, torch.arange(5), self.caches(), is_output_kv=True)
        for actual, expected in zip((rope, latent), self.expected(parts), strict=True):
            assert_close(actual[:, 0, 0], expected)

    def test_what_the_op_leaves_uninitialised_cannot_be_mistaken_for_a_result(self, torch_npu, parts):
        _, _, rope, latent = self.call(torch_npu, parts, torch.arange(5), self.caches())
        assert rope.shape == (5, 1, 1, 64)
        assert latent.isnan().all().item()

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (torch.arange(5, dtype=torch.int32), "index is int32; the op takes int64"),
            (torch.arange(4), "index has 4 slots for 5 tokens"),
            (torch.tensor([0, 1, 2, 3, 12]), "slot 12 is outside a cache of 12 slots"),
        ],
    )
    def test_a_wrong_index_is_refused(self, torch_npu, parts, index, message):
        with pytest.raises(RuntimeError, match=message):
            self.call(torch_npu, parts, index, self.caches())

    def test_a_cache_that_is_not_contiguous_is_refused(self, torch_npu, parts):
        rope, latent = self.caches()
        with pytest.raises(RuntimeError, match="k_cache is not contiguous"):
            self.call(torch_npu, parts, torch.arange(5), (rope.transpose(0, 1).contiguous().transpose(0, 1), latent))

    def test_another_latent_size_is_refused(self, torch_npu, parts):
        _, gamma, cos, sin = parts
        with pytest.raises(RuntimeError, match=r"expected \[B, 1, S, 576\]"):
            self.call(torch_npu, (values(5, 1, 1, 320), gamma, cos, sin), torch.arange(5), self.caches())

    def test_fewer_dimensions_are_refused(self, torch_npu, parts):
        _, gamma, cos, sin = parts
        with pytest.raises(RuntimeError, match="4D tensor expected for input kv"):
            self.call(torch_npu, (values(5, 576), gamma, cos, sin), torch.arange(5), self.caches())

    def test_an_unknown_cache_mode_is_refused(self, torch_npu, parts):
        with pytest.raises(RuntimeError, match="cache_mode 'paged' is none of"):
            self.call(torch_npu, parts, torch.arange(5), self.caches(), "paged")


class TestRingMla:
    HEADS = 2

    def parts(self, queries, keys):
        shapes = [(queries, 128), (queries, 64), (keys, 128), (keys, 64), (keys, 128)]
        return [values(count, self.HEADS, size, seed=seed) for seed, (count, size) in enumerate(shapes)]

    def call(self, torch_npu, parts, seqlen, *, mask_type="no_mask", calc_type="calc_type_first_ring", **changes):
        mask = torch.ones(512, 512, dtype=torch.bfloat16).triu(1)
        return torch_npu.atb.npu_ring_mla(
            *[part.npu() for part in parts], mask.npu(), seqlen, self.HEADS, self.HEADS,
            qk_scale=0.1, mask_type=mask_type, calc_type=calc_type, **changes,
        )  # fmt: skip

    def expected(self, parts, queries, keys, visible=None):
        q = torch.cat(parts[:2], -1)
        return packed_attention(q, torch.cat(parts[2:4], -1), parts[4], queries, 0.1, keys, visible)

    def test_attends_to_each_sequence_with_its_rope_part(self, torch_npu):
        parts = self.parts(6, 6)
        out, lse = self.call(torch_npu, parts, torch.tensor([2, 4], dtype=torch.int32))
        expected, log_sums = self.expected(parts, [2, 4], [2, 4])
        assert_close(out, expected)
        assert lse.shape == (self.HEADS, 6)
        assert_close(lse, log_sums.T, torch.float32)

    def test_the_triangular_mask_is_aligned_to_the_last_key(self, torch_npu):
        parts = self.parts(3, 5)
        seqlen = torch.tensor([[3], [5]], dtype=torch.int32)
        out, _ = self.call(torch_npu, parts, seqlen, mask_type="mask_type_triu")
        assert_close(out, self.expected(parts, [3], [5], lambda i, j, n, m: j <= i + m - n)[0])

    def test_two_parts_merge_to_the_whole_in_place(self, torch_npu):
        parts = self.parts(3, 8)
        first, second = ([*parts[:2], *(part[span] for part in parts[2:])] for span in (slice(5), slice(5, 8)))
        out, lse = self.call(torch_npu, first, torch.tensor([[3], [5]], dtype=torch.int32))
        self.call(
            torch_npu, second, torch.tensor([[3], [3]], dtype=torch.int32), calc_type="calc_type_default",
            pre_out=out, prev_lse=lse, output=out, softmax_lse=lse,
        )  # fmt: skip
        expected, log_sums = self.expected(parts, [3], [8])
        assert_close(out, expected)
        assert_close(lse, log_sums.T, torch.float32)

    def test_a_part_without_keys_changes_nothing(self, torch_npu):
        parts = self.parts(3, 4)
        out, lse = self.call(torch_npu, parts, torch.tensor([[3], [4]], dtype=torch.int32))
        nothing = [*parts[:2], *(part[:0] for part in parts[2:])]
        after, _ = self.call(
            torch_npu, nothing, torch.tensor([[3], [0]], dtype=torch.int32),
            calc_type="calc_type_default", pre_out=out, prev_lse=lse,
        )  # fmt: skip
        assert torch.equal(after.cpu(), out.cpu())

    def test_lengths_on_the_device_are_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match=r"seqlen is on npu:0\. Expected CPU tensor"):
            self.call(torch_npu, self.parts(2, 2), torch.tensor([2], dtype=torch.int32).npu())

    def test_fewer_keys_than_queries_are_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="a sequence of 3 queries has 2 keys"):
            self.call(torch_npu, self.parts(3, 2), torch.tensor([[3], [2]], dtype=torch.int32))

    def test_merging_without_an_earlier_part_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="pre_out and prev_lse must be given"):
            self.call(torch_npu, self.parts(2, 2), torch.tensor([2], dtype=torch.int32), calc_type="calc_type_default")

    def test_an_unknown_mask_type_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="mask_type 'causal' is none of"):
            self.call(torch_npu, self.parts(2, 2), torch.tensor([2], dtype=torch.int32), mask_type="causal")


class TestMultiHeadLatentAttention:
    def parts(self):
        return (
            values(2, 4, 512),
            values(2, 4, 64, seed=1),
            values(5, 16, 1, 512, seed=2),
            values(5, 16, 1, 64, seed=3),
            torch.tensor([[4, 1], [0, 2]], dtype=torch.int32),
        )

    def expected(self, lengths):
        q, q_rope, cache, rope, table = self.parts()
        keys = torch.cat([cache, rope], -1)
        rows = []
        for index, length in enumerate(lengths):
            seen = keys[table[index].long()].flatten(0, 1)[:length]
            rows.append(attention(torch.cat([q, q_rope], -1)[index : index + 1], seen, seen[..., :512], 0.1))
        return torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])

    def call(self, torch_npu, *more, lengths=(20, 9), **changes):
        moved = [part.npu() for part in self.parts()]
        return torch_npu.atb.npu_multi_head_latent_attention(*moved, list(lengths), 4, 0.1, 1, *more, **changes)

    def test_one_query_token_over_the_blocks_of_its_sequence(self, torch_npu):
        assert_close(self.call(torch_npu), self.expected([20, 9])[0])

    def test_writes_into_the_output_it_is_given(self, torch_npu):
        out = torch.empty(2, 4, 512, dtype=torch.bfloat16, device="npu")
        assert self.call(torch_npu, output=out) is out
        assert_close(out, self.expected([20, 9])[0])

    def test_the_log_sum_is_returned_when_asked_for(self, torch_npu):
        _, lse = self.call(torch_npu, True)
        assert lse.shape == (2, 4, 1)
        assert_close(lse[..., 0], self.expected([20, 9])[1])

    def test_the_log_sum_is_written_when_asked_for(self, torch_npu):
        out = torch.empty(2, 4, 512, dtype=torch.bfloat16, device="npu")
        lse = torch.empty(2, 4, 1, device="npu")
        self.call(torch_npu, True, output=out, lse=lse)
        assert_close(lse[..., 0], self.expected([20, 9])[1], torch.bfloat16)

    def test_a_quantised_cache_is_not_made_up(self, torch_npu):
        with pytest.raises(NotImplementedError, match="cache_mode 'int8_nzcache' is not emulated"):
            self.call(torch_npu, cache_mode="int8_nzcache")

    def test_more_tokens_than_the_table_has_blocks_are_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="33 tokens need 3 blocks, but block_table has 2 columns"):
            self.call(torch_npu, lengths=(33, 1))


class TestProlog:
    TOKENS, HIDDEN, LOW, HEADS, NOPE = 3, 32, 24, 2, 16

    @pytest.fixture
    def parts(self):
        tokens, hidden, low, heads, nope = self.TOKENS, self.HIDDEN, self.LOW, self.HEADS, self.NOPE
        shapes = {
            "token_x": (tokens, hidden),
            "weight_dq": (hidden, low),
            "weight_uq_qr": (low, heads * (nope + 64)),
            "weight_uk": (heads, nope, 512),
            "weight_dkv_kr": (hidden, 512 + 64),
            "rmsnorm_gamma_cq": (low,),
            "rmsnorm_gamma_ckv": (512,),
            "rope_sin": (tokens, 64),
            "rope_cos": (tokens, 64),
        }
        return {name: values(*shape, seed=seed) / 4 for seed, (name, shape) in enumerate(shapes.items())}

    @pytest.mark.parametrize("version", ["npu_mla_prolog", "npu_mla_prolog_v2"])
    def test_projects_normalises_and_rotates_into_the_caches(self, torch_npu, parts, version):
        kv_cache = torch.zeros(2, 4, 1, 512, dtype=torch.bfloat16, device="npu")
        kr_cache = torch.zeros(2, 4, 1, 64, dtype=torch.bfloat16, device="npu")
        slots = torch.tensor([5, 0, 2])
        moved = {name: part.npu() for name, part in parts.items()}
        query, query_rope, *caches = getattr(torch_npu, version)(
            **moved, cache_index=slots.npu(), kv_cache=kv_cache, kr_cache=kr_cache
        )
        assert caches[0] is kv_cache
        wide = {name: part.double() for name, part in parts.items()}
        low = rms_normed(wide["token_x"] @ wide["weight_dq"], wide["rmsnorm_gamma_cq"], 1e-5)
        q = (low @ wide["weight_uq_qr"]).unflatten(1, (self.HEADS, -1))
        cos, sin = wide["rope_cos"], wide["rope_sin"]
        assert_close(query, torch.einsum("thd,hdc->thc", q[..., : self.NOPE], wide["weight_uk"]))
        assert_close(query_rope, latent_rope(q[..., self.NOPE :], cos[:, None], sin[:, None]))
        kv = wide["token_x"] @ wide["weight_dkv_kr"]
        assert_close(kv_cache.view(8, -1)[slots.npu()], rms_normed(kv[:, :512], wide["rmsnorm_gamma_ckv"], 1e-5))
        assert_close(kr_cache.view(8, -1)[slots.npu()], latent_rope(kv[:, 512:], cos, sin))

    def test_a_quantised_input_is_not_made_up(self, torch_npu, parts):
        moved = {name: part.npu() for name, part in parts.items()}
        moved["token_x"] = torch.ones(self.TOKENS, self.HIDDEN, dtype=torch.int8).npu()
        cache = torch.zeros(2, 4, 1, 512, dtype=torch.bfloat16, device="npu")
        with pytest.raises(NotImplementedError, match="a quantised token_x is not emulated"):
            torch_npu.npu_mla_prolog_v2(**moved, cache_index=torch.arange(3).npu(), kv_cache=cache, kr_cache=cache)
