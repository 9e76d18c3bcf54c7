from __future__ import annotations

import pytest
import torch

import emulated_npu

NZ = 29


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float16, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestScatterPaKvCache:
    """The rules: op-plugin's page on npu_scatter_pa_kv_cache, and test/test_custom_ops/test_scatter_pa_kv_cache.py."""

    def test_each_token_goes_to_its_slot(self, torch_npu):
        key, value = values(3, 2, 8), values(3, 2, 4, seed=1)
        keys, stored = torch.zeros(2, 4, 2, 8).half().npu(), torch.zeros(2, 4, 2, 4).half().npu()
        slots = torch.tensor([5, -1, 0], dtype=torch.int32).npu()
        assert torch_npu.npu_scatter_pa_kv_cache(key.npu(), value.npu(), keys, stored, slots, cache_mode="Norm") is None
        assert torch.equal(keys.cpu()[1, 1], key[0])
        assert torch.equal(keys.cpu()[0, 0], key[2])
        assert torch.equal(stored.cpu()[1, 1], value[0])
        assert int((keys.cpu() != 0).flatten(2).any(-1).sum()) == 2

    @pytest.mark.parametrize("apart", [False, True])
    def test_the_nz_layout_has_the_parts_of_a_token_a_block_apart(self, torch_npu, apart):
        key = values(1, 2, 32)
        shape = (3, 2, 2, 4, 16) if apart else (3, 4, 4, 16)
        keys, stored = torch.zeros(shape).half().npu(), torch.zeros(shape).half().npu()
        slots = torch.tensor([6], dtype=torch.int64).npu()
        torch_npu.npu_scatter_pa_kv_cache(key.npu(), key.npu(), keys, stored, slots)
        parts = keys.cpu()[1].flatten(0, -3)[:, 2]
        assert torch.equal(parts.flatten(), key.flatten())

    def test_the_functional_one_leaves_the_caches_alone(self, torch_npu):
        key = values(1, 2, 8)
        cache = torch.zeros(2, 4, 2, 8).half().npu()
        slots = torch.tensor([1], dtype=torch.int32).npu()
        written, _ = torch_npu.npu_scatter_pa_kv_cache_functional(
            key.npu(), key.npu(), cache, cache, slots, cache_mode="Norm"
        )
        assert torch.equal(written.cpu()[0, 1], key[0])
        assert not cache.cpu().any()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"key": values(3, 8)}, "key has 2 dimensions"),
            ({"key": values(3, 2, 8, dtype=torch.bfloat16)}, "the dtypes must be the same"),
            ({"key": values(3, 8, 2).transpose(1, 2)}, "key is not contiguous"),
            ({"value": values(3, 1, 8)}, "differ"),
            ({"slot_mapping": torch.tensor([0, 1]).int()}, "3 tokens, but 2 slots"),
            ({"slot_mapping": torch.tensor([0, 1, 8]).int()}, "slot 8 is outside a cache of 8 slots"),
            ({"slot_mapping": torch.tensor([0.0, 1, 2])}, "slot_mapping is float32"),
            ({"key_cache": values(2, 4, 2, 16)}, "does not fit key_cache"),
            ({"cache_mode": "NZ"}, "cache_mode is 'NZ'"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, changes, message):
        call = {
            "key": values(3, 2, 8),
            "value": values(3, 2, 8),
            "key_cache": values(2, 4, 2, 8),
            "value_cache": values(2, 4, 2, 8),
            "slot_mapping": torch.tensor([0, 1, 2]).int(),
            "cache_mode": "Norm",
        } | changes
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_scatter_pa_kv_cache(
                **{name: each if isinstance(each, str) else _keeping_strides(each) for name, each in call.items()}
            )


class TestGatherPaKvCache:
    """The rules: op-plugin, GatherPaKvCacheKernelNpuOpApi.cpp and test_custom_ops/test_npu_gather_pa_kv_cache.py."""

    CACHE = values(3, 4, 2, 8)
    TABLES = torch.tensor([[2, 0], [1, 7]], dtype=torch.int32)

    def gathered(self, torch_npu, tokens, lengths, **options):
        key, value = values(tokens, 2, 8, seed=3).npu(), values(tokens, 2, 8, seed=4).npu()
        assert (
            torch_npu.npu_gather_pa_kv_cache(
                self.CACHE.npu(), self.CACHE.npu(), self.TABLES.npu(), lengths.npu(), key, value, **options
            )
            is None
        )
        assert torch.equal(key.cpu(), value.cpu())
        return key.cpu()

    def test_puts_the_blocks_of_each_sequence_in_a_row(self, torch_npu):
        found = self.gathered(torch_npu, 7, torch.tensor([5, 2], dtype=torch.int32))
        assert torch.equal(found, torch.cat([self.CACHE[2], self.CACHE[0, :1], self.CACHE[1, :2]]))

    def test_takes_cumulative_lengths(self, torch_npu):
        ends = torch.tensor([0, 5, 7], dtype=torch.int32)
        found = self.gathered(torch_npu, 7, ends, is_seq_lens_cumsum=True)
        assert torch.equal(found, self.gathered(torch_npu, 7, torch.tensor([5, 2], dtype=torch.int32)))

    def test_a_start_inside_a_block_counts_from_its_beginning(self, torch_npu):
        offsets = torch.tensor([6, 0], dtype=torch.int32).npu()
        found = self.gathered(torch_npu, 3, torch.tensor([2, 1], dtype=torch.int32), seq_offset=offsets)
        assert torch.equal(found, torch.cat([self.CACHE[0, :2], self.CACHE[1, :1]]))

    def test_what_no_block_of_the_cache_holds_is_zero(self, torch_npu):
        found = self.gathered(torch_npu, 13, torch.tensor([2, 11], dtype=torch.int32))
        assert torch.equal(found[2:6], self.CACHE[1])
        assert not found[6:].any()

    def test_the_format_of_the_cache_says_its_layout(self, torch_npu):
        parts = values(2, 4, 4, 16)
        cache = torch_npu.npu_format_cast(parts.npu(), NZ)
        key = torch.zeros(3, 2, 32).half().npu()
        tables, lengths = torch.tensor([[1]], dtype=torch.int32).npu(), torch.tensor([3], dtype=torch.int32).npu()
        found, _ = torch_npu.npu_gather_pa_kv_cache_functional(cache, cache, tables, lengths, key, key)
        assert torch.equal(found.cpu(), parts[1].transpose(0, 1)[:3].reshape(3, 2, 32))
        assert not key.cpu().any()


class TestScatterNdUpdate:
    """The rules: op-plugin's page on npu_scatter_nd_update_."""

    def test_writes_rows_in_place_and_gives_the_input_back(self, torch_npu):
        target = torch.zeros(4, 3).npu()
        rows = torch.tensor([[2], [0]], dtype=torch.int32).npu()
        result = torch_npu.npu_scatter_nd_update_(target, rows, torch.ones(2, 3).npu())
        assert result is target
        assert target.cpu().sum(1).tolist() == [3, 0, 3, 0]

    def test_writes_through_a_view(self, torch_npu):
        whole = torch.zeros(2, 4, 3, dtype=torch.int8).npu()
        torch_npu.npu_scatter_nd_update_(
            whole.view(-1, 3), torch.tensor([[5]]).npu(), torch.ones(1, 3, dtype=torch.int8).npu()
        )
        assert whole.cpu()[1, 1].tolist() == [1, 1, 1]

    def test_an_index_may_go_deeper_than_a_row(self, torch_npu):
        target = torch.zeros(2, 3).npu()
        torch_npu.npu_scatter_nd_update_(target, torch.tensor([[1, 2]]).npu(), torch.ones(1).npu())
        assert target.tolist() == [[0, 0, 0], [0, 0, 1]]

    @pytest.mark.parametrize(
        ("indices", "updates", "message"),
        [
            (torch.tensor([0]), torch.ones(3), "at least two dimensions"),
            (torch.tensor([[0, 0, 0]]), torch.ones(1), "3 numbers for each place"),
            (torch.tensor([[4]]), torch.ones(1, 3), "lie outside of input"),
            (torch.tensor([[-1]]), torch.ones(1, 3), "lie outside of input"),
            (torch.tensor([[0]]), torch.ones(1, 4), r"updates has shape \[1, 4\]; expected \[1, 3\]"),
            (torch.tensor([[0]]), torch.ones(1, 3).half(), "the dtypes must be the same"),
            (torch.tensor([[0.0]]), torch.ones(1, 3), "indices is float32"),
        ],
    )
    def test_what_the_op_refuses(self, torch_npu, indices, updates, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_scatter_nd_update_(torch.zeros(4, 3).npu(), indices.npu(), updates.npu())


def _keeping_strides(tensor):
    if tensor.is_contiguous():
        return tensor.npu()
    return tensor.transpose(1, 2).contiguous().npu().transpose(1, 2)
