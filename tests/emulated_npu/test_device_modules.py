"""Modules on the emulated npu: parameters, moving, loading weights, and the layers of a vision encoder."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

pytestmark = pytest.mark.usefixtures("npu")

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VIDEO = torch.randn(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("module", "value"),
    [
        (nn.Conv2d(3, 8, 4, 4), IMAGE),
        (nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4), bias=False), VIDEO),
        (nn.ConvTranspose2d(3, 4, 2), IMAGE),
        (nn.LayerNorm(16), TOKENS),
        (nn.RMSNorm(16), TOKENS),
        (nn.GroupNorm(1, 3), IMAGE),
        (nn.MultiheadAttention(16, 2, batch_first=True), TOKENS),
        (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval(), TOKENS),
        (nn.Embedding(10, 4), torch.tensor([[1, 9], [0, 3]])),
        (nn.Unfold(2), IMAGE),
        (nn.AvgPool2d(2), IMAGE),
        (nn.AdaptiveAvgPool2d(1), IMAGE),
        (nn.BatchNorm2d(3).eval(), IMAGE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layer_computes_what_it_computes_on_the_cpu(module: nn.Module, value: torch.Tensor) -> None:
    arguments = (value, value, value) if isinstance(module, nn.MultiheadAttention) else (value,)
    with torch.no_grad():
        expected = first(module(*arguments))
        result = first(copy.deepcopy(module).to("npu")(*(argument.to("npu") for argument in arguments)))
    assert result.device == torch.device("npu:0")
    torch.testing.assert_close(result.cpu(), expected)


def first(result: object) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result


def test_moved_module_keeps_its_parameter_objects() -> None:
    module = nn.Linear(2, 2)
    weight = module.weight
    module.to("npu")
    assert module.weight is weight
    assert weight.is_npu


def test_tied_parameters_stay_tied_when_moved() -> None:
    module = nn.ModuleDict({"in": nn.Linear(2, 2), "out": nn.Linear(2, 2)})
    module["out"].weight = module["in"].weight
    module.to("npu")
    assert module["out"].weight is module["in"].weight


def test_moved_module_comes_back_unchanged() -> None:
    module = nn.Linear(2, 2)
    before = copy.deepcopy(module.state_dict())
    module.to("npu").cpu()
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_module_moves_and_changes_dtype_at_once() -> None:
    module = nn.Linear(2, 2).to("npu", torch.bfloat16)
    assert (module.weight.dtype, module.weight.device.type) == (torch.bfloat16, "npu")


def test_module_is_made_on_the_device() -> None:
    assert nn.Linear(2, 2, device="npu").weight.is_npu


def test_module_made_on_meta_materialises_on_the_device() -> None:
    module = nn.Linear(2, 2, device="meta").to_empty(device="npu")
    module.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    assert module.weight.tolist() == [[1, 0], [0, 1]]


def test_data_of_a_cpu_parameter_becomes_a_device_tensor() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.data = torch.zeros(2, device="npu")
    assert isinstance(parameter, nn.Parameter)
    assert (str(parameter.device), parameter.tolist(), parameter.requires_grad) == ("npu:0", [0, 0], True)


def test_data_of_a_device_parameter_becomes_a_cpu_tensor() -> None:
    parameter = nn.Parameter(torch.ones(2, device="npu"), requires_grad=False)
    parameter.data = parameter.data.to("cpu")
    assert (str(parameter.device), parameter.requires_grad) == ("cpu", False)


def test_data_keeps_the_attributes_of_the_parameter() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.weight_loader = "loader"
    parameter.data = parameter.data.to("npu")
    assert parameter.weight_loader == "loader"


def test_data_on_one_device_shares_memory_with_what_was_assigned() -> None:
    parameter, other = nn.Parameter(torch.ones(2, device="npu")), torch.zeros(2, device="npu")
    parameter.data = other
    other.fill_(5)
    assert parameter.tolist() == [5, 5]


def test_state_dict_loads_into_a_moved_module() -> None:
    module = nn.Linear(2, 2).to("npu")
    module.load_state_dict({"weight": torch.eye(2), "bias": torch.ones(2)})
    assert module(torch.ones(1, 2, device="npu")).tolist() == [[2, 2]]


def test_safetensors_loads_onto_the_device(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"half": torch.ones(3, dtype=torch.bfloat16), "int": torch.arange(4).view(2, 2)}, file)
    loaded = load_file(file, device="npu:0")
    assert {str(tensor.device) for tensor in loaded.values()} == {"npu:0"}
    assert (loaded["half"].tolist(), loaded["int"].tolist()) == ([1, 1, 1], [[0, 1], [2, 3]])


def test_safetensors_saves_from_the_device(tmp_path: Path) -> None:
    save_file({"x": torch.arange(3, device="npu")}, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["x"].tolist() == [0, 1, 2]


def test_parametrised_dtype_conversions_of_a_module() -> None:
    assert nn.Linear(2, 2).to("npu").half().weight.dtype is torch.float16


def test_npu_method_moves_tensor_and_module() -> None:
    assert torch.ones(1).npu().is_npu
    assert nn.Linear(1, 1).npu().weight.is_npu


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_lowers_matmul_and_keeps_norms_in_float32(dtype: torch.dtype) -> None:
    linear, norm = nn.Linear(4, 4, device="npu"), nn.LayerNorm(4, device="npu")
    with torch.autocast("npu", dtype=dtype):
        low = linear(torch.ones(2, 4, device="npu"))
        kept = norm(low)
    assert (low.dtype, kept.dtype) == (dtype, torch.float32)


def test_autocast_dtype_can_be_asked_for() -> None:
    assert torch.get_autocast_dtype("npu") in (torch.float16, torch.bfloat16)
