"""The lengths that ops are given: as torch has lists, or as Python has them where an op is another party's."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ascend_patches.npu import attention_kernels as kernels
from ascend_patches.npu.host_lengths import Lengths

LENGTHS, KEY_LENGTHS = Lengths((2, 1, 1, 2, 3)), Lengths((4, 2, 2, 4, 6))
ENDS, KEY_ENDS = [2, 3, 4, 6, 9], [4, 6, 8, 12, 18]
OPS = {
    kernels.FUSION_ATTENTION: ("actual_seq_qlen", "actual_seq_kvlen"),
    kernels.FUSED_INFER_ATTENTION: ("actual_seq_lengths", "actual_seq_lengths_kv"),
}
with_ends = pytest.mark.parametrize("name", OPS)


def attended(name: str, lengths: Lengths = LENGTHS, key_lengths: Lengths = KEY_LENGTHS) -> torch.Tensor:
    query, key = (
        torch.ones(sum(each.values), 2, 64, dtype=torch.bfloat16, device="npu") for each in (lengths, key_lengths)
    )
    common = kernels.Common(lengths, key_lengths, heads=2, kv_heads=2, scale=0.125)
    return kernels.KERNELS[name](common, None)(query, key, key)


@with_ends
@torch.inference_mode()
def test_another_partys_op_is_given_lists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_npu = importlib.import_module("torch_npu")
    given: dict[str, Any] = {}
    plain = getattr(torch_npu, name)

    def op(**arguments: Any) -> Any:
        given.update(arguments)
        return plain(**arguments)

    monkeypatch.setattr(torch_npu, name, op)
    attended(name)
    assert [given[each] for each in OPS[name]] == [ENDS, KEY_ENDS]
    assert {type(given[each]) for each in OPS[name]} == {list}


@with_ends
@torch.inference_mode()
def test_what_is_below_torchs_operator_is_given_lists_of_whole_numbers(name: str) -> None:
    seen: list[Any] = []

    class Mode(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if name in str(func):
                seen.extend([*args, *(kwargs or {}).values()])
            return func(*args, **(kwargs or {}))

    with Mode():
        attended(name)
    assert [each for each in seen if isinstance(each, list)] == [ENDS, KEY_ENDS]


def test_torchs_list_is_made_once_and_has_the_same_elements() -> None:
    lengths = Lengths((5, 3, 8, 1, 2))
    assert lengths.ends_of_torch is lengths.ends_of_torch
    assert (list(lengths.ends_of_torch), type(lengths.ends_of_torch)) == (lengths.ends, torch._C.ScriptList)


@pytest.mark.parametrize("values", [(), (3,), (5, 3, 8, 1)])
def test_few_stay_in_a_list_of_pythons(values: tuple[int, ...]) -> None:
    lengths = Lengths(values)
    assert lengths.ends_of_torch is lengths.ends
