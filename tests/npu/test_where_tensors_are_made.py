"""What patches make is on the device that they say, whatever torch's default device is at that moment."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from ascend_patches.npu.rotary_places import rotary_places

NPU = Path(__file__).resolve().parents[2] / "ascend_patches" / "npu"
MAKERS = frozenset(("arange", "empty", "eye", "full", "linspace", "ones", "tensor", "zeros"))


def unplaced(file: Path) -> list[str]:
    calls = [each for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)]
    return [
        f"{file.name}:{call.lineno}"
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr in MAKERS) == ("torch", True)
        and "device" not in [given.arg for given in call.keywords]
    ]


@pytest.mark.parametrize("file", sorted(NPU.glob("*.py")), ids=lambda file: file.name)
def test_every_tensor_says_where_it_is(file: Path) -> None:
    assert unplaced(file) == []


def test_what_is_kept_of_a_size_is_on_the_host_also_where_the_device_is_the_default() -> None:
    with torch.device("npu"):
        assert rotary_places([[1, 34, 38]], 2).device.type == "cpu"
