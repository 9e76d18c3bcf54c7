"""Gradients of ops, products of two dtypes, formats, and names of torch.npu that programs ask for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu() -> Any:
    emulated_npu.install(allow_float32=False)
    import torch_npu

    return torch_npu


def gradient(work: Any, *given: torch.Tensor) -> list[torch.Tensor]:
    leaves = [each.clone().requires_grad_() for each in given]
    work(*leaves).float().square().sum().backward()
    return [leaf.grad.cpu() for leaf in leaves if leaf.grad is not None]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("op", "plain", "shapes"),
    [
        (lambda npu: npu.npu_swiglu, lambda x: torch.nn.functional.silu(x[..., :4]) * x[..., 4:], [(3, 8)]),
        (lambda npu: npu.npu_fast_gelu, lambda x: x * torch.sigmoid(1.702 * x), [(3, 8)]),
        (
            lambda npu: lambda x, gamma: npu.npu_rms_norm(x, gamma)[0],
            lambda x, gamma: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * gamma,
            [(3, 8), (8,)],
        ),
        (
            lambda npu: lambda q, k, v: npu.npu_fusion_attention(q, k, v, 2, "BSND", scale=0.5)[0],
            lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(
                *(each.transpose(1, 2) for each in (q, k, v)), scale=0.5
            ).transpose(1, 2),
            [(1, 5, 2, 8)] * 3,
        ),
    ],
)
def test_backward_leaves_the_gradient(torch_npu: Any, op: Any, plain: Any, shapes: Any) -> None:
    given = [numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    expected = gradient(plain, *given)
    found = gradient(op(torch_npu), *(each.npu() for each in given))
    assert len(found) == len(expected) == len(shapes)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_without_a_gradient_to_ask_for_an_op_has_none(torch_npu: Any) -> None:
    assert not torch_npu.npu_fast_gelu(torch.ones(2, device="npu")).requires_grad


@pytest.mark.parametrize("product", [torch.mm, torch.matmul, lambda a, b: torch.addmm(a[0], a, b)])
def test_a_product_of_two_dtypes_has_the_first_one_s(torch_npu: Any, product: Any) -> None:
    """op-plugin makes the result with the options of self, and aclnnMatmul promotes."""
    left, right = numbers(4, 4).bfloat16(), numbers(4, 4, seed=1)
    found = product(left.npu(), right.npu())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.cpu(), product(left.float(), right).bfloat16())


def test_a_format_stays_on_a_copy(torch_npu: Any) -> None:
    cast = torch_npu.npu_format_cast(torch.ones(16, 16).npu(), 29)
    kept = (copy.deepcopy(cast), cast.clone())
    assert [torch_npu.get_npu_format(each) for each in kept] == [29, 29]


def test_autocast_is_seen_without_naming_the_device(torch_npu: Any) -> None:
    assert not torch.is_autocast_enabled()
    with torch.autocast("npu", dtype=torch.float16):
        assert torch.is_autocast_enabled()
        assert torch.npu.is_autocast_enabled()
    assert not torch.is_autocast_enabled()


def test_a_stream_keeps_its_priority_and_its_number(torch_npu: Any) -> None:
    stream = torch.npu.Stream(priority=-1)
    with torch.npu.stream(stream):
        current = torch.npu.current_stream()
    assert (current.priority, current.stream_id) == (-1, stream.stream_id)
    assert torch.npu.default_stream().priority == 0
    torch_npu._C._npu_setStream(stream.stream_id, stream.device_index, stream.device_type)
    assert torch_npu._C._npu_getCurrentStream()[0] == stream.stream_id
    torch.npu.set_stream(torch.npu.default_stream())


def test_core_limits_are_kept_for_the_device_and_for_a_stream(torch_npu: Any) -> None:
    stream = torch.npu.Stream()
    torch.npu.set_stream_limit(stream, cube_num=8)
    assert torch.npu.get_stream_limit(stream) == {"cube_core_num": 8, "vector_core_num": 48}
    torch.npu.reset_stream_limit(stream)
    assert torch.npu.get_stream_limit(stream) == torch.npu.get_device_limit(0)


def test_types_of_tensors_make_and_tell_them(torch_npu: Any) -> None:
    made = torch.npu.FloatTensor([1.0, 2.0])
    assert (str(made.device), made.dtype) == ("npu:0", torch.float32)
    assert isinstance(made, torch.npu.FloatTensor)
    assert not isinstance(made, torch.npu.HalfTensor)
    assert not isinstance(made.cpu(), torch.npu.FloatTensor)


def test_memory_is_a_module_of_its_own(torch_npu: Any) -> None:
    import torch_npu.npu.memory as memory

    assert memory is torch.npu.memory
    assert memory.memory_allocated() == torch.npu.memory_allocated()
    assert "Allocated memory" in torch.npu.memory_summary()


def test_hccl_is_said_to_be_there(torch_npu: Any) -> None:
    from torch.distributed import is_hccl_available

    assert is_hccl_available()


def test_a_stand_in_that_is_reloaded_has_its_first_content_again(torch_npu: Any) -> None:
    import importlib

    import torchair.fx_summary as summary

    converter = summary._NpuGraphConverter
    summary._NpuGraphConverter = None
    importlib.reload(summary)
    assert summary._NpuGraphConverter is converter


def test_packages_that_exist_for_npus_only_can_be_imported_where_they_are_asked_for(torch_npu: Any) -> None:
    emulated_npu.install_stand_ins("mooncake", "xlite")
    from mooncake.engine import TransferEngine
    from xlite._C import Runtime

    for refusing in (TransferEngine, Runtime):
        with pytest.raises(NotImplementedError, match="which the emulated NPU does not have"):
            refusing()
    with pytest.raises(ValueError, match="there is no stand-in for 'numpy'; there are fla_npu, mooncake, xlite"):
        emulated_npu.install_stand_ins("numpy")
