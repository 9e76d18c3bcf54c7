from __future__ import annotations

import pytest
import torch
from float64 import assert_close, attention

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.bfloat16, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def numbers(*items):
    return torch.tensor(items, dtype=torch.int32)


class TestReshapeAndCache:
    def test_each_token_goes_to_its_slot_in_place(self, torch_npu):
        key, value = values(3, 2, 64), values(3, 2, 64, seed=1)
        key_cache, value_cache = (torch.zeros(2, 4, 2, 64, dtype=torch.bfloat16, device="npu") for _ in range(2))
        torch_npu._npu_reshape_and_cache(key.npu(), value.npu(), key_cache, value_cache, numbers(6, 0, 3).npu())
        assert torch.equal(key_cache.cpu().view(8, 2, 64)[[6, 0, 3]], key)
        assert torch.equal(value_cache.cpu().view(8, 2, 64)[[6, 0, 3]], value)

    def test_a_negative_slot_keeps_nothing(self, torch_npu):
        key = values(2, 1, 576)
        cache = torch.zeros(1, 4, 1, 576, dtype=torch.bfloat16, device="npu")
        torch_npu._npu_reshape_and_cache_siso(key.npu(), cache, numbers(2, -1).npu())
        assert torch.equal(cache.cpu()[0, 2], key[0])
        assert cache.cpu()[0, [0, 1, 3]].abs().sum() == 0

    def test_writes_through_a_view_of_a_stack_of_caches(self, torch_npu):
        both = torch.zeros(2, 1, 4, 1, 64, dtype=torch.bfloat16, device="npu")
        key = values(1, 1, 64)
        torch_npu._npu_reshape_and_cache(key.npu(), key.npu(), both[0], both[1], numbers(1).npu())
        assert torch.equal(both.cpu()[:, 0, 1, 0], key[:, 0].expand(2, 64))

    @pytest.mark.parametrize(
        ("slots", "message"),
        [
            (torch.tensor([0, 1]), "slot_indices is int64; the op takes int32"),
            (numbers(0), "2 tokens, but 1 slots"),
            (numbers(0, 4), "slot 4 is outside a cache of 4 slots"),
        ],
    )
    def test_wrong_slots_are_refused(self, torch_npu, slots, message):
        cache = torch.zeros(1, 4, 1, 64, dtype=torch.bfloat16, device="npu")
        with pytest.raises(RuntimeError, match=message):
            torch_npu._npu_reshape_and_cache_siso(values(2, 1, 64).npu(), cache, slots.npu())

    def test_a_token_of_another_size_is_refused(self, torch_npu):
        cache = torch.zeros(1, 4, 1, 64, dtype=torch.bfloat16, device="npu")
        with pytest.raises(RuntimeError, match="does not fit key_cache"):
            torch_npu._npu_reshape_and_cache_siso(values(2, 1, 32).npu(), cache, numbers(0, 1).npu())


class TestPagedAttention:
    TABLE = ((3, 0), (1, 2))

    def call(self, torch_npu, q, keys, vals, context, **changes):
        out = torch.empty(q.shape[0], q.shape[1], vals.shape[3], dtype=q.dtype, device="npu")
        call = {
            "num_kv_heads": keys.shape[2], "num_heads": q.shape[1], "scale_value": 0.1,
            "block_table": torch.tensor(self.TABLE, dtype=torch.int32).npu(), "context_lens": context, "out": out,
            **changes,
        }  # fmt: skip
        torch_npu._npu_paged_attention(query=q.npu(), key_cache=keys.npu(), value_cache=vals.npu(), **call)
        return out

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("kv_heads", [1, 2, 4])
    def test_one_token_sees_the_blocks_of_its_sequence(self, torch_npu, dtype, kv_heads):
        q = values(2, 4, 64, dtype=dtype)
        keys, vals = (values(4, 16, kv_heads, 64, dtype=dtype, seed=seed) for seed in (1, 2))
        out = self.call(torch_npu, q, keys, vals, numbers(20, 5))
        for index, length in enumerate((20, 5)):
            blocks = list(self.TABLE[index])
            seen = [cache[blocks].flatten(0, 1)[:length] for cache in (keys, vals)]
            assert_close(out[index : index + 1], attention(q[index : index + 1], *seen, 0.1)[0])

    def test_latent_values_are_the_front_of_the_keys(self, torch_npu):
        q, keys = values(2, 4, 576), values(4, 16, 1, 576, seed=1)
        out = torch.empty(2, 4, 512, dtype=torch.bfloat16, device="npu")
        torch_npu._npu_paged_attention_mla(
            query=q.npu(), key_cache=keys.npu(), num_kv_heads=1, num_heads=4, scale_value=0.1,
            block_table=torch.tensor(self.TABLE, dtype=torch.int32).npu(), context_lens=numbers(20, 5),
            mla_vheadsize=512, out=out,
        )  # fmt: skip
        seen = keys[[3, 0]].flatten(0, 1)[:20]
        assert_close(out[:1], attention(q[:1], seen, seen[..., :512], 0.1)[0])

    def test_the_workspace_is_bytes_on_the_device(self, torch_npu):
        q, cache = values(2, 1, 64), values(4, 16, 1, 64).npu()
        workspace = torch_npu._npu_paged_attention_get_workspace(
            query=q.npu(), key_cache=cache, value_cache=cache, num_kv_heads=1, num_heads=1, scale_value=1.0,
            block_table=torch.tensor(self.TABLE, dtype=torch.int32).npu(), context_lens=numbers(1, 1),
            out=torch.empty_like(q, device="npu"),
        )  # fmt: skip
        assert (workspace.dtype, workspace.device.type) == (torch.uint8, "npu")

    @pytest.mark.parametrize(
        ("context", "message"),
        [
            (torch.tensor([1, 1]), "context_lens is int64; the op takes int32"),
            (numbers(1), "2 tokens, but 1 context lengths"),
            (numbers(33, 1), "33 tokens need 3 blocks, but block_table has 2 columns"),
        ],
    )
    def test_wrong_lengths_are_refused(self, torch_npu, context, message):
        cache = values(4, 16, 1, 64)
        with pytest.raises(RuntimeError, match=message):
            self.call(torch_npu, values(2, 1, 64), cache, cache, context)

    def test_lengths_on_the_device_are_refused(self, torch_npu):
        cache = values(4, 16, 1, 64)
        with pytest.raises(RuntimeError, match=r"context_lens is on npu:0\. Expected CPU tensor"):
            self.call(torch_npu, values(2, 1, 64), cache, cache, numbers(1, 1).npu())

    def test_a_block_that_the_cache_does_not_have_is_refused(self, torch_npu):
        cache = values(2, 16, 1, 64)
        with pytest.raises(RuntimeError, match=r"names blocks \[3\], but the cache has 2"):
            self.call(torch_npu, values(2, 1, 64), cache, cache, numbers(1, 1))


class TestPagedCacheLoad:
    def call(self, torch_npu, lengths, **changes):
        keys, vals = values(4, 16, 1, 512), values(4, 16, 1, 64, seed=1)
        table = torch.tensor([[3, 0], [1, 2]], dtype=torch.int32)
        loaded = torch_npu.atb.npu_paged_cache_load(keys.npu(), vals.npu(), table.npu(), lengths.npu(), **changes)
        return keys, vals, loaded

    def test_puts_the_blocks_of_each_sequence_in_a_row(self, torch_npu):
        keys, vals, loaded = self.call(torch_npu, numbers(18, 3))
        for cache, part in zip((keys, vals), loaded, strict=True):
            assert torch.equal(part.cpu(), torch.cat([cache[3], cache[0][:2], cache[1][:3]]))

    def test_takes_cumulative_lengths(self, torch_npu):
        _, _, plain = self.call(torch_npu, numbers(18, 3))
        _, _, cumulative = self.call(torch_npu, numbers(0, 18, 21), cumsum=True)
        assert torch.equal(plain[0].cpu(), cumulative[0].cpu())

    def test_starts_where_it_is_told_to(self, torch_npu):
        keys, _, loaded = self.call(torch_npu, numbers(4, 3), seq_starts=numbers(16, 0).npu())
        assert torch.equal(loaded[0].cpu(), torch.cat([keys[0][:4], keys[1][:3]]))

    def test_writes_into_the_tensors_it_is_given_without_asking_the_device(self, torch_npu):
        key = torch.empty(21, 1, 512, dtype=torch.bfloat16, device="npu")
        value = torch.empty(21, 1, 64, dtype=torch.bfloat16, device="npu")
        lengths = numbers(18, 3).npu()
        keys, vals = values(4, 16, 1, 512).npu(), values(4, 16, 1, 64, seed=1).npu()
        table = torch.tensor([[3, 0], [1, 2]], dtype=torch.int32).npu()
        with emulated_npu.record() as log:
            loaded = torch_npu.atb.npu_paged_cache_load(keys, vals, table, lengths, key=key, value=value)
        assert loaded[0] is key
        assert log.stalls == 0

    def test_without_outputs_the_lengths_are_read_from_the_device_one_by_one(self, torch_npu):
        with emulated_npu.record() as log:
            self.call(torch_npu, numbers(18, 3))
        assert [copy.cause for copy in log.device_to_host] == ["npu_paged_cache_load"] * 2
