"""Tensors on the emulated npu compute what they compute on the CPU, and share memory where torch says so."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("npu")


def on_both(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> None:
    """``function`` gives the same on the npu as on the CPU, and its result is on the npu."""
    result = function(*(tensor.to("npu") for tensor in tensors))
    assert result.device == torch.device("npu:0")
    torch.testing.assert_close(result.cpu(), function(*tensors), rtol=0, atol=0, equal_nan=True)


COMPUTATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "add": lambda a, b: a + b,
    "add a number": lambda a, b: a + 1.5,
    "add a CPU scalar": lambda a, b: a + torch.tensor(2.0),
    "scalar tensor first": lambda a, b: torch.tensor(2.0, dtype=torch.float64) * a,
    "matmul": lambda a, b: a @ b.t(),
    "batched matmul": lambda a, b: a[None].expand(3, -1, -1) @ b.t(),
    "einsum": lambda a, b: torch.einsum("ij,kj->ik", a, b),
    "softmax": lambda a, b: a.softmax(-1),
    "where": lambda a, b: torch.where(a > 0, a, b),
    "cat": lambda a, b: torch.cat((a, b)),
    "stack": lambda a, b: torch.stack((a, b), dim=1),
    "chunk": lambda a, b: torch.cat(a.chunk(2, dim=-1)[::-1], dim=-1),
    "split with sizes": lambda a, b: a.split([1, 3])[1],
    "unbind": lambda a, b: a.unbind(0)[2],
    "pad": lambda a, b: functional.pad(a, (0, 3)),
    "cumsum": lambda a, b: a.cumsum(0),
    "diff": lambda a, b: torch.diff(a, dim=0),
    "mean": lambda a, b: a.mean(),
    "topk": lambda a, b: a.topk(2).values,
    "sort": lambda a, b: a.sort().indices,
    "max over a dimension": lambda a, b: a.max(dim=1).indices,
    "int index": lambda a, b: a[1, 2],
    "slice with step": lambda a, b: a[::2, 1::3],
    "tensor index": lambda a, b: a[torch.tensor([2, 0], device=a.device)],
    "tensor index on the CPU": lambda a, b: a[torch.tensor([2, 0])],
    "boolean mask": lambda a, b: a[a > 0],
    "masked fill": lambda a, b: a.masked_fill(a > 0, -1.0),
    "gather": lambda a, b: a.gather(1, torch.zeros(4, 2, dtype=torch.long, device=a.device)),
    "index_select": lambda a, b: a.index_select(0, torch.tensor([1, 1], device=a.device)),
    "repeat_interleave by tensor": lambda a, b: a.repeat_interleave(torch.arange(4, device=a.device), dim=0),
    "unique": lambda a, b: torch.unique(a.round()),
    "transpose, contiguous": lambda a, b: a.t().contiguous(),
    "reshape of a transpose": lambda a, b: a.t().reshape(4, -1),
    "flip and roll": lambda a, b: a.flip(0).roll(1, 1),
    "expand": lambda a, b: a[:1].expand(5, -1),
    "view of another dtype": lambda a, b: a.view(torch.int32),
    "to half": lambda a, b: a.half(),
    "complex": lambda a, b: torch.view_as_real(torch.polar(a.abs(), b)),
    "conjugate": lambda a, b: torch.complex(a, b).conj() * 2,
    "imaginary part of a conjugate": lambda a, b: torch.complex(a, b).conj().imag,
    "meshgrid": lambda a, b: torch.meshgrid(a[0], b[0], indexing="ij")[0],
    "interpolate": lambda a, b: functional.interpolate(a[None, None], scale_factor=2, mode="bilinear"),
    "layer norm": lambda a, b: functional.layer_norm(a, (6,), b[0], b[1]),
    "rms norm": lambda a, b: functional.rms_norm(a, (6,), b[0]),
    "gelu": lambda a, b: functional.gelu(a, approximate="tanh"),
    "silu": lambda a, b: functional.silu(a),
    "linear": lambda a, b: functional.linear(a, b, b[:, 0]),
    "one_hot": lambda a, b: functional.one_hot(a.argmax(1), 6),
    "scaled dot product attention": lambda a, b: functional.scaled_dot_product_attention(a[None], b[None], a[None]),
    "causal attention": lambda a, b: functional.scaled_dot_product_attention(
        a[None, None], b[None, None], a[None, None], is_causal=True
    ),
    "zeros_like on the CPU kept there": lambda a, b: a + torch.zeros_like(a, device="cpu").to(a.device),
    "new_zeros": lambda a, b: a.new_zeros(2, 3),
    "new_tensor": lambda a, b: a.new_tensor([1, 2]),
    "in-place chain": lambda a, b: a.clone().add_(b).mul_(2).clamp_(min=0),
    "in-place on a view": lambda a, b: (copied := a.clone(), copied[1:].zero_())[0],
    "assignment by index": lambda a, b: assigned(a, (slice(None), 1), 7.0),
    "assignment by mask": lambda a, b: assigned(a, a > 0, 7.0),
    "assignment by tensor index": lambda a, b: assigned(a, torch.tensor([0, 2], device=a.device), b[:2]),
    "copy_ with broadcast and cast": lambda a, b: torch.empty_like(a, dtype=torch.half).copy_(b[0]),
}


def assigned(tensor: torch.Tensor, index: object, value: object) -> torch.Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.fixture
def a() -> torch.Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def b() -> torch.Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_computes_what_the_cpu_computes(name: str, a: torch.Tensor, b: torch.Tensor) -> None:
    on_both(COMPUTATIONS[name], a, b)


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_computes_what_the_cpu_computes_in_inference_mode(name: str, a: torch.Tensor, b: torch.Tensor) -> None:
    with torch.inference_mode():
        on_both(COMPUTATIONS[name], a, b)


FACTORIES: dict[str, Callable[[str], torch.Tensor]] = {
    "tensor": lambda device: torch.tensor([[1.0, 2.0]], device=device),
    "zeros": lambda device: torch.zeros(2, 3, device=device),
    "ones": lambda device: torch.ones(2, dtype=torch.int32, device=device),
    "full": lambda device: torch.full((2, 2), 7, device=device),
    "arange": lambda device: torch.arange(3, 9, 2, device=device),
    "arange of floats": lambda device: torch.arange(0.0, 1.0, 0.25, device=device),
    "linspace": lambda device: torch.linspace(0, 1, 5, device=device),
    "eye": lambda device: torch.eye(3, device=device),
    "tril_indices": lambda device: torch.tril_indices(3, 3, device=device),
    "scalar_tensor": lambda device: torch.scalar_tensor(3.0, device=device),
    "empty filled": lambda device: torch.empty(3, 2, device=device).fill_(4),
    "empty_strided filled": lambda device: torch.empty_strided((2, 3), (1, 2), device=device).fill_(4),
    "as_tensor": lambda device: torch.as_tensor([1, 2], device=device),
    "channels last": lambda device: torch.zeros(1, 2, 3, 4, device=device).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_factory_makes_what_it_makes_on_the_cpu(name: str) -> None:
    made = FACTORIES[name]("npu")
    expected = FACTORIES[name]("cpu")
    assert made.device == torch.device("npu:0")
    assert made.stride() == expected.stride()
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=0)


def test_default_device_applies_to_factories() -> None:
    with torch.device("npu"):
        assert torch.zeros(2).is_npu


def test_default_device_does_not_reach_into_kernels() -> None:
    with torch.device("npu"):
        half = torch.ops.aten._to_copy(torch.ones(2), dtype=torch.half)
        assert (half.is_npu, torch.ops.aten.view.dtype(half, torch.int16).tolist()) == (True, [15360, 15360])


def test_a_view_shares_memory_with_its_base() -> None:
    base = torch.zeros(2, 3, device="npu")
    base.view(3, 2)[0].fill_(1)
    assert base.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_a_view_keeps_the_memory_of_its_base_alive() -> None:
    view = torch.arange(1000, device="npu")[500:]
    gc.collect()
    assert view.sum().item() == sum(range(500, 1000))


def test_transposing_in_place_changes_the_tensor_itself() -> None:
    tensor = torch.arange(6, device="npu").view(2, 3)
    tensor.t_().unsqueeze_(0)
    assert tensor.tolist() == [[[0, 3], [1, 4], [2, 5]]]


def test_out_argument_is_written_in_place() -> None:
    out = torch.zeros(3, device="npu")
    pointer = out.data_ptr()
    result = torch.add(torch.ones(3, device="npu"), 1, out=out)
    assert result is out
    assert (out.tolist(), out.data_ptr()) == ([2, 2, 2], pointer)


def test_empty_out_argument_gets_its_memory_from_the_operator() -> None:
    out = torch.empty(0, device="npu")
    torch.cat((torch.ones(2, device="npu"), torch.zeros(1, device="npu")), out=out)
    assert out.tolist() == [1, 1, 0]


def test_strided_view_as_out_argument_writes_through() -> None:
    base = torch.zeros(2, 3, device="npu")
    torch.mul(torch.ones(2, device="npu"), 5, out=base[:, 1])
    assert base.tolist() == [[0, 5, 0], [0, 5, 0]]


def test_too_small_out_argument_is_refused_and_keeps_its_memory() -> None:
    out = torch.zeros(1, device="npu")
    with pytest.warns(UserWarning, match="was resized"), pytest.raises(RuntimeError, match="not resizable"):
        torch.add(torch.ones(3, device="npu"), 1, out=out)
    assert out.tolist() == [0]


def test_resizing_keeps_what_fits() -> None:
    tensor = torch.arange(3, device="npu")
    tensor.resize_(2, 2)
    assert tensor.flatten()[:3].tolist() == [0, 1, 2]


def test_set_makes_a_tensor_share_another_ones_memory() -> None:
    source = torch.zeros(2, device="npu")
    tensor = torch.empty(0, device="npu").set_(source)
    source.fill_(3)
    assert tensor.tolist() == [3, 3]


def test_foreach_copies_between_devices() -> None:
    targets = [torch.zeros(2, device="npu"), torch.zeros(1)]
    torch._foreach_copy_(targets, [torch.ones(2), torch.ones(1, device="npu")])
    assert [target.tolist() for target in targets] == [[1, 1], [1]]


def test_functional_copy_crosses_devices() -> None:
    assert torch.ops.aten.copy(torch.zeros(2, device="npu"), torch.ones(2)).tolist() == [1, 1]


def test_foreach_updates_every_tensor_in_place() -> None:
    tensors = [torch.zeros(2, device="npu"), torch.ones(1, device="npu")]
    torch._foreach_add_(tensors, 1)
    assert [tensor.tolist() for tensor in tensors] == [[1, 1], [2]]


def test_prints_values_and_device() -> None:
    text = repr(torch.tensor([1.0, 2.0], device="npu"))
    assert text == "tensor([1., 2.], device='npu:0')"


def test_large_tensor_prints_its_summary() -> None:
    assert "..." in repr(torch.zeros(5000, device="npu"))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: torch.ones(2, device="npu") + torch.ones(2),
        lambda: torch.ones(2) + torch.ones(2, device="npu"),
        lambda: torch.ones(2).add_(torch.ones(2, device="npu")),
        lambda: torch.ones(2) * torch.tensor(2.0, device="npu"),
        lambda: torch.ones(2, 2, device="npu") @ torch.ones(2, 2),
        lambda: torch.cat((torch.ones(2, device="npu"), torch.ones(2))),
        lambda: functional.embedding(torch.tensor([1]), torch.ones(3, 2, device="npu")),
        lambda: functional.linear(torch.ones(2, 2, device="npu"), torch.ones(2, 2)),
        lambda: torch.add(torch.ones(2, device="npu"), 1, out=torch.ones(2)),
        lambda: torch.ones(2, device="npu").index_put_((torch.tensor([0, 1]),), torch.ones(2)),
        lambda: torch.ones(2)[torch.tensor([0], device="npu")],
    ],
)
def test_mixing_devices_is_refused_in_torch_words(mixed: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        mixed()


def test_numpy_of_a_device_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="can't convert npu:0 device type tensor to numpy"):
        torch.ones(2, device="npu").numpy()


def test_sparse_layout_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="Sparsenpu"):
        torch.eye(2).to_sparse().to("npu")


def test_second_device_does_not_exist() -> None:
    with pytest.raises(RuntimeError, match="one device"):
        torch.ones(2, device="npu:1")


def test_gradients_of_a_small_network_are_those_of_the_cpu(a: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.LayerNorm(5), torch.nn.GELU(), torch.nn.Linear(5, 1))
    network(a).sum().backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    moved = copy.deepcopy(network)
    moved.zero_grad()
    moved.to("npu")(a.to("npu")).sum().backward()
    for parameter, gradient in zip(moved.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), gradient)


def test_gradients_flow_through_attention(a: torch.Tensor) -> None:
    query = a.to("npu")[None, None].requires_grad_()
    functional.scaled_dot_product_attention(query, query, query).sum().backward()
    expected = a[None, None].clone().requires_grad_()
    functional.scaled_dot_product_attention(expected, expected, expected).sum().backward()
    torch.testing.assert_close(query.grad.cpu(), expected.grad)


def test_deepcopy_has_its_own_memory() -> None:
    tensor = torch.ones(2, device="npu")
    copied = copy.deepcopy(tensor)
    tensor.zero_()
    assert (copied.device, copied.tolist()) == (torch.device("npu:0"), [1, 1])


def test_deepcopy_keeps_shared_memory_shared() -> None:
    base = torch.ones(2, device="npu")
    copied, view = copy.deepcopy((base, base[1:]))
    copied.zero_()
    assert view.tolist() == [0]


def test_pickle_returns_to_the_device() -> None:
    tensor = pickle.loads(pickle.dumps(torch.arange(3, device="npu")))
    assert (tensor.device, tensor.tolist()) == (torch.device("npu:0"), [0, 1, 2])


@pytest.mark.parametrize(("location", "device"), [(None, "npu:0"), ("cpu", "cpu"), ("npu", "npu:0")])
def test_load_puts_tensors_where_asked(location: str | None, device: str) -> None:
    file = io.BytesIO()
    torch.save({"x": torch.arange(3, device="npu")}, file)
    file.seek(0)
    loaded = torch.load(file, map_location=location, weights_only=True)["x"]
    assert (str(loaded.device), loaded.tolist()) == (device, [0, 1, 2])


def test_load_of_a_cpu_file_to_the_device() -> None:
    file = io.BytesIO()
    torch.save(torch.arange(3), file)
    file.seek(0)
    assert torch.load(file, map_location="npu:0").device == torch.device("npu:0")


def test_compiled_function_computes_on_the_device(a: torch.Tensor) -> None:
    compiled = torch.compile(lambda x: (x + 1).relu().sum(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(a.to("npu")).cpu(), (a + 1).relu().sum())
