"""What the real ops take and refuse, each with the place where the rule is written.

Paths are of Ascend/op-plugin; "the page" is docs/zh/custom_APIs/torch_npu/torch_npu-<op>.md there.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from float64 import assert_close, packed_attention

import emulated_npu

COMPRESSED = torch.ones(2048, 2048, dtype=torch.bool).triu(1)


@pytest.fixture(scope="module")
def torch_npu() -> Any:
    emulated_npu.install()
    import torch_npu

    return torch_npu


def tokens(*shape: int, dtype: torch.dtype = torch.float16, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestFusedInfer:
    """npu_fused_infer_attention_score."""

    def paged(self, torch_npu: Any, block_size: int, *, layout: str = "BNSD", queries: int = 1, **changes: Any) -> Any:
        size = changes.pop("size", 64)
        shape = (1, 2, queries, size) if layout == "BNSD" else (1, queries, 2, size)
        cache = torch.ones(*changes.pop("cache", (2, block_size, 2 * size)), dtype=torch.float16).npu()
        call = {"num_heads": 2, "num_key_value_heads": 2, "input_layout": layout, "block_size": block_size, **changes}
        table = torch.zeros(1, 2, dtype=torch.int32).npu()
        query = torch.ones(shape, dtype=torch.float16).npu()
        return torch_npu.npu_fused_infer_attention_score(
            query, cache, cache, block_table=table, actual_seq_lengths_kv=[3], **call
        )

    def latent(self, torch_npu: Any, heads: int = 1, block_size: int = 128, **changes: Any) -> Any:
        def ones(*shape: int) -> torch.Tensor:
            return torch.ones(*shape, dtype=torch.bfloat16).npu()

        cache = ones(2, 1, block_size, 512)
        call = {"num_heads": heads, "num_key_value_heads": 1, "input_layout": "BNSD", "block_size": block_size}
        return torch_npu.npu_fused_infer_attention_score(
            ones(1, heads, 1, 512),
            cache,
            cache,
            query_rope=ones(1, heads, 1, 64),
            key_rope=ones(2, 1, block_size, 64),
            block_table=torch.zeros(1, 2, dtype=torch.int32).npu(),
            actual_seq_lengths_kv=[3],
            **{**call, **changes},
        )

    def test_a_single_query_sees_every_key_under_a_compressed_causal_mask(self, torch_npu: Any) -> None:
        """The page: sparse_mode has no effect where Q_S is 1 and there is no rope."""
        query, key = tokens(1, 2, 128), tokens(5, 2, 128, seed=1)
        out, _ = torch_npu.npu_fused_infer_attention_score(
            *(query.npu(), key.npu(), key.npu()),
            num_heads=2,
            input_layout="TND",
            scale=0.1,
            atten_mask=COMPRESSED.npu(),
            sparse_mode=3,
            actual_seq_lengths=[1],
            actual_seq_lengths_kv=[5],
        )
        assert_close(out, packed_attention(query, key, key, [1], 0.1, [5])[0])

    @pytest.mark.parametrize("heads", [1, 64, 128])
    def test_latent_heads_are_a_power_of_two_up_to_128_on_one_key_head(self, torch_npu: Any, heads: int) -> None:
        """The page, limits of MLA."""
        assert self.latent(torch_npu, heads)[0].shape == (1, heads, 1, 512)

    def test_another_number_of_latent_heads_is_refused(self, torch_npu: Any) -> None:
        with pytest.raises(RuntimeError, match=r"num_heads is one of .* but got 1 and 12"):
            self.latent(torch_npu, 12)

    def test_latent_heads_take_sparse_modes_0_3_and_4(self, torch_npu: Any) -> None:
        """The page, limits of MLA."""
        with pytest.raises(RuntimeError, match="sparse_mode is 0, 3 or 4, but got 1"):
            self.latent(torch_npu, sparse_mode=1, atten_mask=torch.zeros(1, 3, dtype=torch.bool).npu())

    @pytest.mark.parametrize("block_size", [8, 2048])
    def test_latent_blocks_are_multiples_of_16_up_to_1024(self, torch_npu: Any, block_size: int) -> None:
        """The page, limits of MLA."""
        with pytest.raises(RuntimeError, match=f"block_size is {block_size}; .* multiple of 16, at most 1024"):
            self.latent(torch_npu, block_size=block_size)

    def test_blocks_of_several_queries_are_multiples_of_128(self, torch_npu: Any) -> None:
        """The page, limits of PageAttention: Q_S > 1."""
        with pytest.raises(RuntimeError, match=r"block_size is 64; .* multiple of 128, at most 512"):
            self.paged(torch_npu, 64, queries=2)

    def test_blocks_of_one_query_are_at_most_512(self, torch_npu: Any) -> None:
        """The page, limits of PageAttention: Q_S = 1."""
        assert self.paged(torch_npu, 64)[0].shape == (1, 2, 1, 64)
        with pytest.raises(RuntimeError, match=r"block_size is 1024; .* at most 512"):
            self.paged(torch_npu, 1024)

    def test_a_cache_by_heads_is_refused_with_bsnd(self, torch_npu: Any) -> None:
        """The page, limits of PageAttention: BSH and BSND take BnBsH only."""
        with pytest.raises(RuntimeError, match="with BSND a cache is"):
            self.paged(torch_npu, 128, layout="BSND", cache=(2, 2, 128, 64))

    def test_more_than_256_heads_are_refused(self, torch_npu: Any) -> None:
        """The page, N axis."""
        q = tokens(1, 257, 128).npu()
        ends = {"actual_seq_lengths": [1], "actual_seq_lengths_kv": [1]}
        with pytest.raises(RuntimeError, match="num_heads is 257; the op takes 1 to 256"):
            torch_npu.npu_fused_infer_attention_score(q, q, q, num_heads=257, input_layout="TND", **ends)

    def test_a_value_of_192_is_refused_with_ntd(self, torch_npu: Any) -> None:
        """The page, limits of TND: not with NTD."""
        q = tokens(1, 4, 192).npu()
        ends = {"actual_seq_lengths": [4], "actual_seq_lengths_kv": [4]}
        with pytest.raises(RuntimeError, match=r"head sizes 192 .* and 192 .* are not taken with NTD"):
            torch_npu.npu_fused_infer_attention_score(q, q, q, num_heads=1, input_layout="NTD", **ends)

    def test_a_key_of_another_size_than_the_query_is_refused(self, torch_npu: Any) -> None:
        query, key = tokens(4, 1, 128).npu(), tokens(4, 1, 64).npu()
        ends = {"actual_seq_lengths": [4], "actual_seq_lengths_kv": [4]}
        with pytest.raises(RuntimeError, match="key has head size 64, query 128"):
            torch_npu.npu_fused_infer_attention_score(query, key, query, num_heads=1, input_layout="TND", **ends)


class TestFlashAttentionUnpad:
    """op_plugin/ops/atb/SelfAttentionUnpadAtb.cpp and SelfAttentionUnpadAtbV2.cpp."""

    def call(self, torch_npu: Any, *given: torch.Tensor, out: torch.Tensor, lengths: Any, heads: int = 2) -> None:
        seq_len = torch.tensor(lengths, dtype=torch.int32)
        torch_npu._npu_flash_attention_unpad(*(each.npu() for each in given), seq_len, 0.1, heads, heads, out)

    @pytest.mark.parametrize("kernel_type", [0, 2])
    def test_the_kernel_types_are_0_and_2(self, torch_npu: Any, kernel_type: int) -> None:
        q = tokens(4, 1, 64).npu()
        out = torch.empty_like(q)
        call = (q, q, q, torch.tensor([4], dtype=torch.int32), 0.1, 1, 1)
        torch_npu._npu_flash_attention_unpad_v2(*call, kernel_type=kernel_type, out=out)
        with pytest.raises(RuntimeError, match=r"KERNELTYPE_DEFAULT\(0\) and KERNELTYPE_EXP_M8V2\(2\), but got: 1"):
            torch_npu._npu_flash_attention_unpad_v2(*call, kernel_type=1, out=out)

    def test_a_query_of_two_dimensions_holds_its_heads_side_by_side(self, torch_npu: Any) -> None:
        """ATB's PA_ENCODER takes [tokens, heads x size] as well."""
        q, k, v = (tokens(6, 2, 72, seed=seed) for seed in range(3))
        out = torch.empty(6, 144, dtype=torch.float16, device="npu")
        self.call(torch_npu, *(each.flatten(1) for each in (q, k, v)), out=out, lengths=[2, 4])
        assert_close(out.view(6, 2, 72), packed_attention(q, k, v, [2, 4], 0.1)[0])

    def test_queries_and_keys_may_have_lengths_of_their_own(self, torch_npu: Any) -> None:
        """ATB's PA_ENCODER takes seq_len of [2, batch]."""
        q, k, v = tokens(3, 2, 64), tokens(7, 2, 64, seed=1), tokens(7, 2, 64, seed=2)
        out = torch.empty(3, 2, 64, dtype=torch.float16, device="npu")
        self.call(torch_npu, q, k, v, out=out, lengths=[[1, 2], [4, 3]])
        assert_close(out, packed_attention(q, k, v, [1, 2], 0.1, [4, 3])[0])

    @pytest.mark.parametrize("size", [264, 576])
    def test_heads_up_to_576_are_taken(self, torch_npu: Any, size: int) -> None:
        q = tokens(4, 1, size)
        out = torch.empty(4, 1, size, dtype=torch.float16, device="npu")
        self.call(torch_npu, q, q, q, out=out, lengths=[4], heads=1)
        assert_close(out, packed_attention(q, q, q, [4], 0.1)[0])

    def test_an_out_of_another_shape_is_refused_though_it_has_room(self, torch_npu: Any) -> None:
        """ATB infers the shape of its output from the query."""
        q = tokens(4, 2, 64)
        out = torch.empty(4, 128, dtype=torch.float16, device="npu")
        with pytest.raises(RuntimeError, match=r"out has shape \[4, 128\]; expected \[4, 2, 64\]"):
            self.call(torch_npu, q, q, q, out=out, lengths=[4])


class TestFusionAttention:
    """op_plugin/ops/opapi/FlashAttentionKernelNpuOpApi.cpp and the page of npu_fusion_attention."""

    def call(self, torch_npu: Any, query: torch.Tensor, layout: str = "TND", **changes: Any) -> torch.Tensor:
        ends = {} if layout == "BSND" else {"actual_seq_qlen": [2, 5], "actual_seq_kvlen": [2, 5]}
        heads = query.shape[-2]
        q = query.npu()
        out: torch.Tensor = torch_npu.npu_fusion_attention(q, q, q, heads, layout, scale=0.1, **{**ends, **changes})[0]
        return out

    def test_the_layout_is_taken_in_small_letters(self, torch_npu: Any) -> None:
        q = tokens(5, 2, 64)
        assert_close(self.call(torch_npu, q, "tnd"), packed_attention(q, q, q, [2, 3], 0.1)[0])

    def test_sequences_at_the_end_that_take_no_part_are_left_out(self, torch_npu: Any) -> None:
        """The page: [2, 5, 9, 0, 0] for five sequences of which two take no part."""
        q = tokens(9, 2, 64)
        out = self.call(torch_npu, q, actual_seq_qlen=[2, 5, 0], actual_seq_kvlen=[2, 5, 0])
        assert_close(out[:5], packed_attention(q[:5], q[:5], q[:5], [2, 3], 0.1)[0])

    def test_mode_7_is_a_band_for_the_last_sequence_and_causal_for_the_others(self, torch_npu: Any) -> None:
        q = tokens(5, 2, 64)
        whole = self.call(torch_npu, q, atten_mask=COMPRESSED.npu(), sparse_mode=3)
        band = self.call(torch_npu, q, atten_mask=COMPRESSED.npu(), sparse_mode=7, pre_tockens=3, next_tockens=0)
        assert torch.equal(whole.cpu(), band.cpu())

    def test_mode_8_is_a_band_for_the_first_sequence_and_causal_for_the_others(self, torch_npu: Any) -> None:
        q = tokens(5, 2, 64)
        whole = self.call(torch_npu, q, atten_mask=COMPRESSED.npu(), sparse_mode=2)
        band = self.call(torch_npu, q, atten_mask=COMPRESSED.npu(), sparse_mode=8, pre_tockens=2, next_tockens=0)
        assert torch.equal(whole.cpu(), band.cpu())

    @pytest.mark.parametrize(("layout", "mode"), [("TND", 5), ("TND", 9), ("BSND", 7), ("BSND", 9)])
    def test_modes_out_of_range_are_refused_without_a_mask_too(self, torch_npu: Any, layout: str, mode: int) -> None:
        q = tokens(5, 2, 64) if layout == "TND" else tokens(1, 5, 2, 64)
        with pytest.raises(RuntimeError, match="sparse_mode value must be in range"):
            self.call(torch_npu, q, layout, sparse_mode=mode)

    def test_the_statistics_in_tnd_need_that_layout(self, torch_npu: Any) -> None:
        with pytest.raises(RuntimeError, match="softmax_layout=TND only supported when input_layout_str=TND"):
            self.call(torch_npu, tokens(1, 5, 2, 64), "BSND", softmax_layout="TND")

    def test_more_than_256_heads_are_refused(self, torch_npu: Any) -> None:
        with pytest.raises(RuntimeError, match="head_num is 257"):
            self.call(torch_npu, tokens(5, 257, 8))

    def test_an_int8_mask_is_refused(self, torch_npu: Any) -> None:
        with pytest.raises(RuntimeError, match=r"atten_mask is torch\.int8; the op takes bool, uint8"):
            self.call(torch_npu, tokens(5, 2, 64), atten_mask=COMPRESSED.to(torch.int8).npu(), sparse_mode=3)

    def test_it_is_refused_while_a_graph_is_captured(self, torch_npu: Any) -> None:
        """The page: neither graph mode nor aclgraph."""
        q = tokens(5, 2, 64).npu()
        with (
            torch.npu.graph(torch.npu.NPUGraph()),
            pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        ):
            self.call(torch_npu, q)


def test_gamma_may_be_float32_beside_half_an_input(torch_npu: Any) -> None:
    """The page of npu_rms_norm: pairs of dtypes."""
    x, gamma = tokens(3, 64), tokens(64, dtype=torch.float32)
    normed, _ = torch_npu.npu_rms_norm(x.npu(), gamma.npu())
    expected = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-6) * gamma.double()
    assert normed.dtype == torch.float16
    torch.testing.assert_close(normed.cpu().double(), expected, rtol=2e-3, atol=2e-3)


def test_mrope_without_sections_takes_either_cache_mode(torch_npu: Any) -> None:
    """op_plugin/ops/opapi checks the name of cache_mode only."""
    query, cache = tokens(3, 64).npu(), tokens(8, 64).npu()
    positions = torch.arange(3).npu()
    both = [
        torch_npu.npu_mrope(positions, query, query, cache, 64, mrope_section=[0, 0, 0], cache_mode=mode)[0].cpu()
        for mode in ("default", "interleave")
    ]
    assert torch.equal(*both)


def test_a_start_inside_a_block_is_rounded_down(torch_npu: Any) -> None:
    """op_plugin/ops/atb/PagedCacheLoadAtb.cpp."""
    cache = tokens(2, 16, 1, 64).npu()
    table = torch.tensor([[0, 1]], dtype=torch.int32).npu()
    loaded = [
        torch_npu.atb.npu_paged_cache_load(
            cache,
            cache,
            table,
            torch.tensor([4], dtype=torch.int32).npu(),
            seq_starts=torch.tensor([start], dtype=torch.int32).npu(),
        )[0].cpu()
        for start in (16, 19)
    ]
    assert torch.equal(*loaded)


def test_ring_mla_takes_a_mask_of_two_planes(torch_npu: Any) -> None:
    """test/test_custom_ops/test_atb_ring_mla.py."""

    def call(mask: torch.Tensor) -> torch.Tensor:
        nope, rope = tokens(4, 2, 128).npu(), tokens(4, 2, 64).npu()
        lengths = torch.tensor([4], dtype=torch.int32)
        out: torch.Tensor = torch_npu.atb.npu_ring_mla(
            *(nope, rope, nope, rope, nope, mask.half().npu(), lengths, 2, 2),
            qk_scale=0.1,
            mask_type="mask_type_triu",
            calc_type="calc_type_first_ring",
        )[0]
        return out

    plane = torch.ones(512, 512).triu(1)
    assert torch.equal(call(plane).cpu(), call(torch.stack([plane, plane])).cpu())


def test_emptying_the_host_cache_does_not_end_the_process(torch_npu: Any) -> None:
    torch.accelerator.memory.empty_host_cache()
