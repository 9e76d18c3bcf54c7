"""Checks of mm-encoder-attention: every way to call a release's encoder attention, and what each should give.

vLLM alone has no kernel of an NPU to compare bits with: there the patch gives another one.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ascend_patches.checks import world
from ascend_patches.checks.check import NOWHERE, WITH_VLLM_ASCEND, Call, Check
from ascend_patches.declaring.gates import Gate, version_in
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.upstream import distributions

MODULES = (
    "vllm_ascend.ops.mm_encoder_attention",
    "vllm.model_executor.layers.attention.mm_encoder_attention",
    "vllm.attention.layers.mm_encoder_attention",
)
DTYPES = (torch.float32, torch.bfloat16)
HEADS = 4
SEQUENCES = (5, 7, 8)
LAYERS = 27


@dataclass(frozen=True)
class Case:
    """One way to call a layer."""

    head_size: int = 72
    kv_heads: int = HEADS
    scale: float | None = None
    batch: int = 1
    lengths: tuple[int, ...] | None = SEQUENCES
    by_head: bool = True
    keys_per_query: int = 1
    boundaries: torch.dtype = torch.int32
    boundaries_on: str = "npu"
    lengths_passed: bool = False
    sliced: bool = False

    @property
    def tokens(self) -> int:
        return sum(self.lengths) // self.batch if self.lengths is not None else 6


CASES = {
    "heads apart": Case(),
    "heads together": Case(by_head=False),
    "slices of a projection": Case(sliced=True),
    "two rows": Case(batch=2, lengths=(10, 3, 7)),
    "no boundaries": Case(lengths=None, batch=2),
    "no boundaries, heads together": Case(lengths=None, batch=2, by_head=False),
    "size 64": Case(head_size=64),
    "size 80": Case(head_size=80),
    "size 128": Case(head_size=128),
    "trailing repeats and empty sequences": Case(lengths=(5, 0, 7, 8, 0, 0)),
    "one sequence": Case(lengths=(20,)),
    "one token": Case(lengths=(1,)),
    "boundaries on the host": Case(boundaries_on="cpu"),
    "boundaries of int64": Case(boundaries=torch.int64),
    "lengths passed": Case(lengths_passed=True),
    "a scale of its own": Case(scale=0.25),
    "grouped heads": Case(kv_heads=2),
    "one key head": Case(kv_heads=1),
    "twice as many keys": Case(keys_per_query=2),
    "twice as many keys, no boundaries": Case(keys_per_query=2, lengths=None, batch=2),
}

WRONG_UPSTREAM = {
    "a scale of its own": "<0.23",
    "boundaries of int64": "<0.22,!=0.18.*",
    "grouped heads": "!=0.18.*",
    "one key head": "!=0.18.*",
    "twice as many keys": "<0.23",
    "twice as many keys, no boundaries": "<0.23",
}
"""What releases of vllm-ascend compute wrongly, or hand to an op that refuses it."""


@dataclass
class Outcome:
    """What one side made of a case."""

    refused: str = ""
    shape: list[int] = field(default_factory=list)
    contiguous: bool = False
    error: float = 0.0
    copies: int = 0
    kernels: int = 0
    dispatches: int = 0


class Bench:
    """One release's layer class, and how it is called there."""

    def __init__(self, layer_class: Any) -> None:
        self.layer_class = layer_class
        forward = vars(layer_class).get("forward_oot", layer_class.forward_native)
        self.takes_lengths = "sequence_lengths" in forward.__code__.co_varnames

    def layer(self, case: Case) -> Any:
        return self.layer_class(
            HEADS, case.head_size, scale=case.scale, num_kv_heads=case.kv_heads, prefix="visual.blocks.0.attn"
        )

    def arguments(self, case: Case, dtype: torch.dtype) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(7)

        def heads(count: int, tokens: int) -> torch.Tensor:
            given = torch.randn(case.batch, tokens, count, case.head_size, generator=generator).to(dtype)
            return (given if case.by_head else given.flatten(2)).to("npu")

        if case.sliced:
            projected = heads(3 * HEADS, case.tokens)
            query, key, value = projected.chunk(3, dim=2)
        else:
            query = heads(HEADS, case.tokens)
            key, value = (heads(case.kv_heads, case.tokens * case.keys_per_query) for _ in range(2))
        arguments: dict[str, Any] = {"query": query, "key": key, "value": value, "cu_seqlens": None}
        if case.lengths is not None:
            lengths = torch.tensor(case.lengths)
            boundaries = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
            arguments["cu_seqlens"] = boundaries.to(case.boundaries).to(case.boundaries_on)
            if case.lengths_passed and self.takes_lengths:
                arguments["sequence_lengths"] = lengths.to(torch.int32)
        return arguments

    def run(self, layer: Any, case: Case, dtype: torch.dtype) -> tuple[Outcome, torch.Tensor | None]:
        import emulated_npu

        arguments = self.arguments(case, dtype)
        try:
            with emulated_npu.record() as log:
                output = layer.forward_oot(**arguments)
        except Exception as error:
            return Outcome(refused=f"{type(error).__name__}: {error}"), None
        result = output.cpu()
        expected = exact(
            case, **{name: tensor.cpu() for name, tensor in arguments.items() if name in ("query", "key", "value")}
        )
        return (
            Outcome(
                shape=list(output.shape),
                contiguous=output.is_contiguous(),
                error=float((result.double().flatten() - expected.flatten()).abs().max()),
                copies=len(log.device_to_host),
                kernels=log.kernels,
                dispatches=log.dispatches,
            ),
            result,
        )


def exact(case: Case, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention in float64, sequence by sequence."""
    query = query.double().reshape(-1, HEADS, case.head_size)
    key, value = (
        tensor.double().reshape(-1, case.kv_heads, case.head_size).repeat_interleave(HEADS // case.kv_heads, dim=1)
        for tensor in (key, value)
    )
    scale = case.scale if case.scale is not None else case.head_size**-0.5
    lengths = case.lengths if case.lengths is not None else (case.tokens,) * case.batch
    outputs, start = [], 0
    for length in lengths:
        rows = query[start : start + length]
        keys = slice(start * case.keys_per_query, (start + length) * case.keys_per_query)
        weights = torch.softmax(torch.einsum("qhd,khd->hqk", rows, key[keys]) * scale, dim=-1)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, value[keys]))
        start += length
    return torch.cat(outputs)


def of_this_release() -> Bench:
    """The layer that this release builds on an NPU."""
    module = next(filter(distributions.has_module, MODULES))
    world.start()
    loaded = importlib.import_module(module)
    return Bench(getattr(loaded, "AscendMMEncoderAttention", None) or loaded.MMEncoderAttention)


def prepare(case: Case, layers: int, dtype: torch.dtype) -> Call:
    """A call of a new layer; or of several in an encoder call, in which they share what they know."""
    release = of_this_release()
    with world.configured():
        made = [release.layer(case) for _ in range(layers)]
    arguments = release.arguments(case, dtype)

    def run() -> list[torch.Tensor]:
        return [layer.forward_oot(**arguments) for layer in made]

    def alone() -> torch.Tensor:
        return run()[0]

    def in_a_call() -> dict[str, torch.Tensor]:
        from ascend_patches.npu.encoder_call import encoder_call

        with encoder_call():
            return _by_layer(run())

    def reference() -> torch.Tensor:
        tensors = {name: arguments[name].cpu() for name in ("query", "key", "value")}
        return exact(case, **tensors)

    if layers == 1:
        return Call(alone, reference)
    return Call(in_a_call, lambda: _by_layer([reference()] * layers))


def _by_layer(outputs: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"layer {number}": output for number, output in enumerate(outputs)}


def _mended(case: str) -> Gate:
    releases = WRONG_UPSTREAM.get(case)
    gate = version_in("vllm-ascend", releases) if releases is not None else NOWHERE
    # vLLM's own attention, without vllm-ascend, has taken no notice of a scale until then.
    return gate | version_in("vllm", "<0.14") if case == "a scale of its own" else gate


CHECKS = tuple(
    Check(
        f"{name}{'' if layers == 1 else f', {layers} layers of a call'}",
        partial(prepare, case, layers),
        where=version_in("vllm", ">=0.13"),
        bitwise=WITH_VLLM_ASCEND,
        mended=_mended(name),
        tolerance=Tolerance(float32=1e-5, bfloat16=2e-2),
    )
    for name, case in CASES.items()
    for layers in (1, 3)
)
