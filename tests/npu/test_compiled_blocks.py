"""Blocks that somebody compiles are known as such, whichever way it was done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ascend_patches.npu.compiled_blocks import any_compiled


def by_vllm(block: torch.nn.Module) -> torch.nn.Module:
    block.do_not_compile = False
    return block


def in_place(block: torch.nn.Module) -> torch.nn.Module:
    block.compile(backend="eager")
    return block


def around_the_module(block: torch.nn.Module) -> torch.nn.Module:
    compiled: torch.nn.Module = torch.compile(block, backend="eager")
    return compiled


def of_its_forward(block: torch.nn.Module) -> torch.nn.Module:
    block.forward = torch.compile(block.forward, backend="eager")
    return block


@pytest.mark.parametrize("compile_it", [by_vllm, in_place, around_the_module, of_its_forward])
def test_one_compiled_block_is_enough(compile_it: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    assert any_compiled([torch.nn.Linear(2, 2), compile_it(torch.nn.Linear(2, 2))])


def test_blocks_are_not_compiled_by_themselves_nor_where_vllm_says_no() -> None:
    told_not_to = torch.nn.Linear(2, 2)
    told_not_to.do_not_compile = True
    assert not any_compiled([torch.nn.Linear(2, 2), told_not_to])
