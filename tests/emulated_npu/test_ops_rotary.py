from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import torch
from float64 import assert_close, rotated

import emulated_npu

ALL = [torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestRotaryMul:
    @pytest.mark.parametrize("dtype", ALL)
    @pytest.mark.parametrize("mode", ["half", "interleave"])
    @pytest.mark.parametrize("size", [64, 72, 128])
    def test_rotates_the_whole_width(self, torch_npu, dtype, mode, size):
        x, cos, sin = values(1, 9, 4, size, dtype=dtype), values(1, 9, 1, size, seed=1), values(1, 9, 1, size, seed=2)
        cos, sin = cos.to(dtype), sin.to(dtype)
        out = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), sin.npu(), mode)
        assert out.dtype == dtype
        assert_close(out, rotated(x, cos, sin, interleaved=mode == "interleave"))

    def test_half_is_the_default(self, torch_npu):
        x, cos = values(1, 4, 2, 64).npu(), values(1, 4, 1, 64, seed=1).npu()
        assert torch.equal(
            torch_npu.npu_rotary_mul(x, cos, cos).cpu(), torch_npu.npu_rotary_mul(x, cos, cos, "half").cpu()
        )

    @pytest.mark.parametrize(
        "shape", [(1, 1, 5, 64), (2, 1, 5, 64), (1, 3, 1, 64), (2, 3, 1, 64), (2, 1, 1, 64), (2, 3, 5, 64)]
    )
    def test_half_broadcasts_in_each_documented_layout(self, torch_npu, shape):
        x, cos = values(2, 3, 5, 64), values(*shape, seed=1)
        out = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), cos.npu())
        assert_close(out, rotated(x, cos, cos, interleaved=False))

    @pytest.mark.parametrize("shape", [(1, 1, 5, 64), (1, 3, 1, 64), (2, 1, 1, 64)])
    def test_interleave_broadcasts_over_batch_and_heads(self, torch_npu, shape):
        x, cos = values(2, 3, 5, 64), values(*shape, seed=1)
        out = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), cos.npu(), "interleave")
        assert_close(out, rotated(x, cos, cos, interleaved=True))

    def test_packed_tokens_are_three_dimensional(self, torch_npu):
        x, cos = values(7, 4, 64), values(7, 1, 64, seed=1)
        out = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), cos.npu(), "half")
        assert_close(out, rotated(x, cos, cos, interleaved=False))

    def test_cos_and_sin_are_cast_to_the_input(self, torch_npu):
        x, cos = values(1, 4, 2, 64, dtype=torch.bfloat16), values(1, 4, 1, 64, seed=1)
        with_float = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), cos.npu())
        with_half = torch_npu.npu_rotary_mul(x.npu(), cos.bfloat16().npu(), cos.bfloat16().npu())
        assert torch.equal(with_float.cpu(), with_half.cpu())

    def test_a_rotation_matrix_replaces_the_mode(self, torch_npu):
        x, cos = values(1, 4, 2, 64), values(1, 4, 1, 64, seed=1)
        matrix = torch.zeros(64, 64)
        matrix[torch.arange(0, 64, 2) + 1, torch.arange(0, 64, 2)] = -1
        matrix[torch.arange(0, 64, 2), torch.arange(0, 64, 2) + 1] = 1
        out = torch_npu.npu_rotary_mul(x.npu(), cos.npu(), cos.npu(), "interleave", matrix.npu())
        assert_close(out, rotated(x, cos, cos, interleaved=True))

    def test_the_input_stays_as_it_was(self, torch_npu):
        x = values(1, 4, 2, 64).npu()
        before = x.cpu()
        torch_npu.npu_rotary_mul(x, x[:, :, :1], x[:, :, :1])
        assert torch.equal(x.cpu(), before)

    @pytest.mark.parametrize("mode", ["interleaved", "Half", "quarter", ""])
    def test_every_other_mode_is_refused(self, torch_npu, mode):
        x = values(1, 4, 2, 64).npu()
        with pytest.raises(RuntimeError, match=f"should be half or interleave, but got {mode}"):
            torch_npu.npu_rotary_mul(x, x, x, mode)

    @pytest.mark.parametrize("size", [63, 896, 1024])
    def test_an_odd_or_too_large_width_is_refused(self, torch_npu, size):
        x = values(1, 4, 2, size).npu()
        with pytest.raises(RuntimeError, match="must be even and below 896"):
            torch_npu.npu_rotary_mul(x, x, x)

    @pytest.mark.parametrize("dims", [2, 5])
    def test_other_numbers_of_dimensions_are_refused(self, torch_npu, dims):
        x = values(*[2] * (dims - 1), 64).npu()
        with pytest.raises(RuntimeError, match=f"input has {dims} dimensions.*takes 3 or 4"):
            torch_npu.npu_rotary_mul(x, x, x)

    @pytest.mark.parametrize(
        ("shape", "mode"),
        [
            ((1, 3, 5, 64), "half"),
            ((1, 3, 1, 32), "half"),
            ((1, 2, 1, 64), "half"),
            ((3, 1, 64), "half"),
            ((2, 3, 1, 64), "interleave"),
            ((2, 3, 5, 64), "interleave"),
        ],
    )
    def test_shapes_that_the_op_does_not_broadcast_are_refused(self, torch_npu, shape, mode):
        x, cos = values(2, 3, 5, 64).npu(), values(*shape).npu()
        with pytest.raises(RuntimeError, match=r"do not broadcast|dimensions"):
            torch_npu.npu_rotary_mul(x, cos, cos, mode)

    def test_interleave_is_refused_from_1000_rows_of_heads_on(self, torch_npu):
        x, cos = values(50, 2, 20, 64).npu(), values(1, 2, 1, 64).npu()
        with pytest.raises(RuntimeError, match="do not broadcast"):
            torch_npu.npu_rotary_mul(x, cos, cos, "interleave")

    def test_integers_are_refused(self, torch_npu):
        x = torch.ones(1, 4, 2, 64, dtype=torch.int32).npu()
        with pytest.raises(RuntimeError, match="input is int32; the op takes float16, bfloat16, float32"):
            torch_npu.npu_rotary_mul(x, x, x)

    def test_packed_tokens_are_refused_before_2_9(self, run_python: Callable[..., subprocess.CompletedProcess[str]]):
        result = run_python("""
            import torch
            import emulated_npu
            emulated_npu.install(torch_npu="2.7.1")
            import torch_npu
            x = torch.ones(4, 2, 64).npu()
            torch_npu.npu_rotary_mul(x, x, x)
        """)
        assert "input has 3 dimensions, shape [4, 2, 64]; the op takes 4" in result.stderr


class TestApplyRotaryPosEmb:
    @pytest.mark.parametrize("dtype", ALL)
    @pytest.mark.parametrize("size", [64, 128])
    def test_rotates_in_place_and_returns_its_arguments(self, torch_npu, dtype, size):
        q, k = values(2, 3, 4, size, dtype=dtype), values(2, 3, 1, size, dtype=dtype, seed=1)
        cos, sin = values(2, 3, 1, size, dtype=dtype, seed=2), values(2, 3, 1, size, dtype=dtype, seed=3)
        q_npu, k_npu = q.npu(), k.npu()
        returned = torch_npu.npu_apply_rotary_pos_emb(q_npu, k_npu, cos.npu(), sin.npu())
        assert returned[0] is q_npu
        assert returned[1] is k_npu
        assert_close(q_npu, rotated(q, cos, sin, interleaved=False))
        assert_close(k_npu, rotated(k, cos, sin, interleaved=False))

    def test_rotates_in_place_through_views(self, torch_npu):
        qk, cos = values(1, 3, 4, 64), values(1, 3, 1, 64, seed=1)
        both = qk.npu()
        torch_npu.npu_apply_rotary_pos_emb(both[:, :, :2], both[:, :, 2:], cos.npu(), cos.npu())
        assert_close(both, rotated(qk, cos, cos, interleaved=False))

    def test_packed_tokens(self, torch_npu):
        q, cos = values(5, 2, 64), values(5, 1, 64, seed=1)
        q_npu = q.npu()
        torch_npu.npu_apply_rotary_pos_emb(q_npu, q.npu(), cos.npu(), cos.npu(), layout="TND")
        assert_close(q_npu, rotated(q, cos, cos, interleaved=False))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rotary_mode": "interleave"}, "rotary_mode is 'half', but got 'interleave'"),
            ({"layout": "BNSD"}, "layout is BSND .* but got BNSD"),
            ({"layout": "TND"}, "query has 4 dimensions"),
        ],
    )
    def test_what_only_newer_devices_take_is_refused(self, torch_npu, changes, message):
        q, cos = values(1, 3, 2, 64).npu(), values(1, 3, 1, 64).npu()
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_apply_rotary_pos_emb(q, q, cos, cos, **changes)

    def test_another_head_size_is_refused(self, torch_npu):
        q, cos = values(1, 3, 2, 72).npu(), values(1, 3, 1, 72).npu()
        with pytest.raises(RuntimeError, match="head size 72; on A2 and A3 devices the op takes 64 or 128"):
            torch_npu.npu_apply_rotary_pos_emb(q, q, cos, cos)

    def test_cos_that_broadcasts_over_the_sequence_is_refused(self, torch_npu):
        q, cos = values(1, 3, 2, 64).npu(), values(1, 1, 1, 64).npu()
        with pytest.raises(RuntimeError, match=r"cos has shape \[1, 1, 1, 64\]; expected \[1, 3, 1, 64\]"):
            torch_npu.npu_apply_rotary_pos_emb(q, q, cos, cos)

    def test_different_dtypes_are_refused(self, torch_npu):
        q, cos = values(1, 3, 2, 64, dtype=torch.float16).npu(), values(1, 3, 1, 64).npu()
        with pytest.raises(RuntimeError, match="dtypes must be the same"):
            torch_npu.npu_apply_rotary_pos_emb(q, q, cos, cos)


ROTARY_EMBEDDING = """
    import torch
    import emulated_npu
    emulated_npu.install()
    import torch_npu

    def table(seed, rows=16, size=64):
        return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)).bfloat16()

    def rotate(x, cache, positions, neox=True):
        x = x.npu()
        torch_npu._npu_rotary_embedding(positions.npu(), x, x.clone(), 64, cache.npu(), neox)
        return x.cpu().double()

    def expected(x, cache, positions, neox=True):
        cos, sin = cache[positions].double().chunk(2, -1)
        cos, sin, x = cos[:, None], sin[:, None], x.double()
        first, second = x.chunk(2, -1) if neox else (x[..., ::2], x[..., 1::2])
        turned = first * cos - second * sin, second * cos + first * sin
        return torch.cat(turned, -1) if neox else torch.stack(turned, -1).flatten(-2)

    x = torch.randn(3, 2, 64, generator=torch.Generator().manual_seed(9)).bfloat16()
    positions = torch.tensor([4, 0, 7])
"""


class TestRotaryEmbedding:
    """In processes of their own: the op remembers its first call for good."""

    @pytest.mark.parametrize("neox", [True, False])
    def test_rotates_in_place(self, run_python, neox):
        result = run_python(
            ROTARY_EMBEDDING
            + f"""
    close = torch.allclose(rotate(x, table(1), positions, {neox}), expected(x, table(1), positions, {neox}), atol=4e-2)
    print(close)
            """
        )
        assert result.stdout == "True\n", result.stderr

    def test_keeps_the_cache_of_the_first_call_for_the_process(self, run_python):
        result = run_python(
            ROTARY_EMBEDDING
            + """
    rotate(x, table(1), positions)
    second = rotate(x, table(2), positions)
    print(torch.allclose(second, expected(x, table(1), positions), atol=4e-2))
    print(torch.allclose(second, expected(x, table(2), positions), atol=4e-2))
            """
        )
        assert result.stdout == "True\nFalse\n", result.stderr

    def test_a_longer_cache_does_not_help_when_the_first_was_short(self, run_python):
        result = run_python(
            ROTARY_EMBEDDING
            + """
    rotate(x, table(1, rows=8), positions)
    rotate(x, table(1, rows=32), torch.tensor([20, 0, 7]))
            """
        )
        assert "positions reach 20; the kept cos_sin_cache has 8 rows" in result.stderr

    def test_a_cache_of_part_of_the_head_is_refused(self, run_python):
        result = run_python(ROTARY_EMBEDDING + "\n    rotate(x, table(1, size=32), positions)\n")
        assert "cos_sin_cache covers 32 of a head of 64" in result.stderr

    def test_float32_is_refused(self, run_python):
        result = run_python(ROTARY_EMBEDDING + "\n    rotate(x.float(), table(1), positions)\n")
        assert "query is float32; the op takes float16, bfloat16" in result.stderr


class TestMrope:
    def call(self, torch_npu, positions, q, k, cache, head=64, **changes):
        moved = (tensor.npu() for tensor in (positions, q, k, cache))
        return torch_npu.npu_mrope(*moved, head, **changes)

    def expected(self, x, cos, sin, head, *, neox):
        heads = x.double().unflatten(1, (-1, head))
        width = cos.shape[-1] * 2
        full = (lambda t: torch.cat([t, t], -1)) if neox else (lambda t: t.repeat_interleave(2, -1))
        turned = rotated(heads[..., :width], full(cos)[:, None], full(sin)[:, None], interleaved=not neox)
        return torch.cat([turned, heads[..., width:]], -1).flatten(1)

    @pytest.mark.parametrize("dtype", ALL)
    @pytest.mark.parametrize("mode", ["half", "interleave"])
    @pytest.mark.parametrize("rotary_dim", [64, 32])
    def test_one_row_of_positions_is_plain_rope(self, torch_npu, dtype, mode, rotary_dim):
        q, k = values(5, 128, dtype=dtype), values(5, 64, dtype=dtype, seed=1)
        cache = values(16, rotary_dim, dtype=dtype, seed=2)
        positions = torch.tensor([3, 1, 4, 1, 5])
        out = self.call(torch_npu, positions, q, k, cache, rotary_mode=mode)
        cos, sin = cache[positions].chunk(2, -1)
        for actual, x in zip(out, (q, k), strict=True):
            assert_close(actual, self.expected(x, cos, sin, 64, neox=mode == "half"))

    def test_each_section_takes_its_own_row_of_positions(self, torch_npu):
        q, cache = values(4, 128), values(16, 64, seed=2)
        positions = torch.randint(16, (3, 4), generator=torch.Generator().manual_seed(1))
        out, _ = self.call(torch_npu, positions, q, q, cache, mrope_section=[8, 12, 12])
        cos, sin = cache.chunk(2, -1)
        pick = torch.tensor([0] * 8 + [1] * 12 + [2] * 12)
        columns = torch.arange(32)
        chosen = [table[positions[pick].T, columns] for table in (cos, sin)]
        assert_close(out, self.expected(q, chosen[0], chosen[1], 64, neox=True))

    def test_interleaved_sections_alternate_by_column(self, torch_npu):
        q, cache = values(4, 128), values(16, 64, seed=2)
        positions = torch.randint(16, (3, 4), generator=torch.Generator().manual_seed(1))
        out, _ = self.call(torch_npu, positions, q, q, cache, mrope_section=[12, 10, 10], cache_mode="interleave")
        columns = torch.arange(32)
        pick = torch.where((columns < 30) & (columns % 3 > 0), columns % 3, 0)
        chosen = [table[positions[pick].T, columns] for table in cache.chunk(2, -1)]
        assert_close(out, self.expected(q, chosen[0], chosen[1], 64, neox=True))

    def test_the_arguments_stay_as_they_were(self, torch_npu):
        q = values(2, 64).npu()
        before = q.cpu()
        torch_npu.npu_mrope(torch.tensor([1, 2]).npu(), q, q, values(4, 64).npu(), 64)
        assert torch.equal(q.cpu(), before)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rotary_mode": "interleaved"}, "rotary_mode only support half or interleave, but got 'interleaved'"),
            ({"cache_mode": "both"}, "cache_mode only support default or interleave"),
            ({"head": 24}, "must be multiples of 16"),
            ({"mrope_section": [8, 8, 8]}, r"adds up to 24, not to rotary_dim / 2 = 32"),
            ({"positions": torch.tensor([99, 1])}, "positions reach 99, but cos_sin_cache has 16 rows"),
        ],
    )
    def test_wrong_calls_are_refused(self, torch_npu, changes, message):
        q = values(2, 192)
        positions = changes.pop("positions", torch.tensor([[0, 1]] * 3 if "mrope_section" in changes else [0, 1]))
        with pytest.raises(RuntimeError, match=message):
            self.call(torch_npu, positions, q, q, values(16, 64), changes.pop("head", 64), **changes)

    def test_half_precision_wants_multiples_of_32(self, torch_npu):
        q = values(2, 48, dtype=torch.bfloat16)
        with pytest.raises(RuntimeError, match="must be multiples of 32"):
            self.call(torch_npu, torch.tensor([0, 1]), q, q, values(4, 48, dtype=torch.bfloat16), 48)

    @pytest.mark.parametrize("release", ["2.5.1", "2.9.0"])
    def test_before_2_11_the_documented_interleaved_is_taken(self, run_python, release):
        result = run_python(f"""
            import torch
            import emulated_npu
            emulated_npu.install(torch_npu="{release}")
            import torch_npu
            q = torch.randn(2, 64).npu()
            torch_npu.npu_mrope(torch.tensor([0, 1]).npu(), q, q, q, 64, rotary_mode="interleaved")
            print("taken")
        """)
        assert result.stdout == "taken\n", result.stderr
