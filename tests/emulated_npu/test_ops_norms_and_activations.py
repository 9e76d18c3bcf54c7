from __future__ import annotations

import pytest
import torch
from float64 import assert_close, rms_normed

import emulated_npu

ALL = [torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class TestRmsNorm:
    @pytest.mark.parametrize("dtype", ALL)
    def test_divides_by_the_root_mean_square(self, torch_npu, dtype):
        x, gamma = values(3, 4, 96, dtype=dtype), values(96, dtype=dtype, seed=1)
        out, _ = torch_npu.npu_rms_norm(x.npu(), gamma.npu(), 1e-5)
        assert_close(out, rms_normed(x, gamma, 1e-5))

    def test_returns_one_over_the_root_mean_square_in_float32(self, torch_npu):
        x = values(3, 96, dtype=torch.bfloat16)
        _, rstd = torch_npu.npu_rms_norm(x.npu(), torch.ones(96, dtype=torch.bfloat16).npu(), epsilon=1e-6)
        assert (rstd.shape, rstd.dtype) == ((3, 1), torch.float32)
        assert_close(rstd, 1 / torch.sqrt(x.double().square().mean(-1, keepdim=True) + 1e-6))

    def test_epsilon_defaults_to_a_millionth(self, torch_npu):
        zeros, gamma = torch.zeros(1, 8).npu(), torch.ones(8).npu()
        assert torch_npu.npu_rms_norm(zeros, gamma)[1].item() == pytest.approx(1000.0)

    def test_adds_before_it_norms_and_returns_the_sum(self, torch_npu):
        x, y, gamma = values(3, 96, dtype=torch.float16), values(3, 96, dtype=torch.float16, seed=1), None
        gamma = values(96, dtype=torch.float16, seed=2)
        out, rstd, added = torch_npu.npu_add_rms_norm(x.npu(), y.npu(), gamma.npu(), 1e-5)
        assert_close(out, rms_normed(x.double() + y.double(), gamma, 1e-5))
        assert_close(added, x.double() + y.double())
        assert rstd.shape == (3, 1)

    def test_a_gamma_that_does_not_fit_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match=r"gamma \[64\] is not the last dimensions of the input \[3, 96\]"):
            torch_npu.npu_rms_norm(values(3, 96).npu(), values(64).npu())

    def test_a_gamma_of_another_dtype_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="dtypes must be the same"):
            torch_npu.npu_rms_norm(values(3, 96).npu(), values(96, dtype=torch.float16).npu())

    def test_adding_another_shape_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match=r"x2 has shape \[1, 96\]; expected \[3, 96\]"):
            torch_npu.npu_add_rms_norm(values(3, 96).npu(), values(1, 96).npu(), values(96).npu())


class TestActivations:
    @pytest.mark.parametrize("dtype", ALL)
    @pytest.mark.parametrize("dim", [-1, 0])
    def test_swiglu_gates_the_second_half_with_the_first(self, torch_npu, dtype, dim):
        x = values(6, 8, dtype=dtype)
        gate, up = x.double().chunk(2, dim)
        assert_close(torch_npu.npu_swiglu(x.npu(), dim=dim), gate / (1 + torch.exp(-gate)) * up)

    def test_swiglu_refuses_an_odd_size(self, torch_npu):
        with pytest.raises(RuntimeError, match="input has size 7 in dim -1; it must be even"):
            torch_npu.npu_swiglu(values(2, 7).npu())

    @pytest.mark.parametrize("dtype", ALL)
    def test_fast_gelu_is_the_sigmoid_approximation(self, torch_npu, dtype):
        x = values(6, 8, dtype=dtype)
        assert_close(torch_npu.npu_fast_gelu(x.npu()), x.double() / (1 + torch.exp(-1.702 * x.double())))
