"""Run on vllm-ascend 0.9.1rc1: MLA decode before and after mla-multistream, and what the patch has to leave alone.

Prints one JSON object.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

import emulated_npu
from ascend_patches import apply_patches, revert_patches
from ascend_patches.patches.mla_multistream import mla_layer as mla
from ascend_patches.patches.mla_multistream.checks import CHECKS
from ascend_patches.patches.mla_multistream.graph_cache import CODE, code_of, name_of
from tools.mla_steps import order, recorded

# torch warns of operators that return an argument; these two do so on a real NPU as well.
warnings.filterwarnings("ignore", message=".*(air::wait_tensor|npu_kv_rmsnorm_rope_cache)")

# Layers and steps that the patch has to leave alone, from the outside: name -> (the layer, the step).
LEFT_ALONE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "not configured": ({"enable_multistream_mla": False}, {}),
    "no query rank": ({"query_rank": None}, {}),
    "another rank prefills": ({}, {"with_prefill_across_dp": True}),
    "dual-batch overlap": ({"dual_batch": True}, {}),
}

# Every term of the gate by itself: name -> (of the layer, of the metadata).
TERMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all hold": ({}, {}),
    "not configured": ({"enable_multistream_mla": False}, {}),
    "torchair off": ({"torchair_graph_enabled": False}, {}),
    "no query rank": ({"q_lora_rank": None}, {}),
    "nothing to decode": ({}, {"num_decodes": 0}),
    "a prefill beside": ({}, {"num_prefills": 1}),
    "another rank prefills": ({}, {"with_prefill_across_dp": True}),
    "prefill": ({}, {"attn_state": "PrefillNoCache"}),
    "prefill that hits the cache": ({}, {"attn_state": "PrefillCacheHit"}),
    "chunked prefill": ({}, {"attn_state": "ChunkedPrefill"}),
    "made before the patch": ({"extra_repr": lambda: ""}, {}),
}

# Mistakes that keep every number: name -> (module, its text, what stands there instead).
MUTANTS = {
    "no prefetch of q_a_proj": ("replacements", "prefetch(self.q_a_proj.weight, hidden_states)", "pass"),
    "no prefetch of o_proj": ("mla_decode", "prefetch(impl.o_proj.weight, values, LARGEST_OUTPUT_PROJECTION)", "pass"),
    "half of q_a_proj": ("replacements", "prefetch(self.q_a_proj.weight,", "prefetch(self.q_a_proj.weight[:48],"),
    "o_proj is fetched beside attention": (
        "mla_decode",
        "impl.o_proj.weight, values,",
        "impl.o_proj.weight, attended,",
    ),
    "keys do not wait for the query": ("replacements", "npu_wait_tensor(hidden_states, ckq)", "hidden_states"),
    "the query does not wait for keys": ("replacements", "in (cos, sin, kv)", "in (cos, sin)"),
    "the query does not wait for sin": ("replacements", "in (cos, sin, kv)", "in (cos, cos, kv)"),
    "rope does not wait for the cache": ("replacements", "q_pe = npu_wait_tensor(q_pe, k_pe)", "pass"),
    "rope on the main stream": (
        "replacements",
        "with npu_stream_switch(_SECOND_STREAM, 0):\n        q_pe",
        "if True:\n        q_pe",
    ),
    "keys on the main stream": (
        "replacements",
        "with npu_stream_switch(_SECOND_STREAM, 0):\n        hidden_states",
        "if True:\n        hidden_states",
    ),
}


def main() -> None:
    torch.set_num_threads(1)
    old = mla.layer()
    report: dict[str, Any] = {
        "before": seen(old),
        "numbers before": digests(numbers()),
        "compilations": {"before": compilations(old)},
        "left alone before": {name: seen(*made(*case)) for name, case in LEFT_ALONE.items()},
    }
    status = apply_patches()
    patched, guessing = mla.layer(), mla.layer(guessed=1)
    guesses = mla.metadata("SpecDecoding", guessed=1)
    report |= {
        "state": next(patch["state"] for patch in status["patches"] if patch["name"] == "mla-multistream"),
        "after": seen(patched),
        "numbers after": digests(numbers()),
        "compiled": compiled(patched, mla.metadata()),
        "speculating": seen(guessing, guesses),
        "speculating compiled": compiled(guessing, guesses),
        "left alone after": {name: seen(*made(*case)) for name, case in LEFT_ALONE.items()},
        "reaches upstream": reaches_upstream(patched),
        "no metadata reaches upstream": spied(patched, None),
        "instance": changed_by_a_step(patched),
        "prefetched": {name: prefetched(*case) for name, case in WEIGHTS.items()},
        "made before the patch": seen(old),
        "text": {"patched": str(patched), "not configured": str(mla.layer(enable_multistream_mla=False))},
        "code in text": {name: text_with_code_of(name) for name in CODE},
        "mutants": {name: mutant(patched, *change) for name, change in MUTANTS.items()},
    }
    report["compilations"]["after"] = compilations(patched)
    revert_patches()
    report["text"] |= {"after undo": str(patched), "upstream": str(mla.layer())}
    report["after undo"] = seen(patched)
    print(json.dumps(report))


def made(of_layer: dict[str, Any], of_step: dict[str, Any]) -> tuple[Any, Any]:
    return mla.layer(**of_layer), mla.metadata(**of_step)


def seen(attention: Any, of: Any = None) -> dict[str, Any]:
    """The order of a step, and every number that it leaves."""
    of = of or mla.metadata()
    return {
        "order": [str(line) for line in recorded.of_layer(attention, of)],
        "numbers": digests(mla.step(attention, of)),
    }


def numbers() -> dict[str, torch.Tensor]:
    """What the checks of the patch compute."""
    return {
        f"{check.name}, {dtype}: {name}": tensor
        for check in CHECKS
        for dtype in check.dtypes
        for name, tensor in check.prepare(getattr(torch, dtype)).run().items()
    }


def digests(results: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(bits(tensor)).hexdigest()[:16] for name, tensor in results.items()}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def compiled(attention: Any, of: Any) -> dict[str, Any]:
    """The order in the graph that torchair would be given, and the numbers of that graph."""
    torch._dynamo.reset()
    graphs: list[torch.fx.Graph] = []

    def keep(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(module.graph)
        return make_boxed_func(module.forward)

    step = torch.compile(attention, fullgraph=True, backend=aot_autograd(fw_compiler=keep))
    results = digests(mla.step(step, of))
    (graph,) = graphs
    latents, ropes = mla.caches(torch.bfloat16)
    states = mla.hidden(of.num_actual_tokens, torch.bfloat16)
    names = {"hidden": states, "latents": latents, "ropes": ropes, **mla.names(attention, of)}
    return {"order": order.read_graph(graph, names), "numbers": results}


def compilations(attention: Any) -> int:
    """How often steps with other lengths make upstream's way of compiling compile again."""
    torch._dynamo.reset()
    count = 0

    def counting(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        nonlocal count
        count += 1
        return make_boxed_func(module.forward)

    step = torch.compile(attention, fullgraph=True, dynamic=True, backend=aot_autograd(fw_compiler=counting))
    for longer in range(4):
        of = mla.metadata()
        of.decode.seq_lens_list = [length + longer for length in of.decode.seq_lens_list]
        mla.step(step, of)
    return count


def reaches_upstream(attention: Any) -> dict[str, bool]:
    from vllm_ascend.attention.attention_v1 import AscendAttentionState

    reached = {}
    for name, (of_layer, of_metadata) in TERMS.items():
        of = mla.metadata()
        for key, value in of_metadata.items():
            setattr(of, key, AscendAttentionState[value] if key == "attn_state" else value)
        before = {key: getattr(attention, key) for key in of_layer}
        for key, value in of_layer.items():
            setattr(attention, key, value)
        reached[name] = spied(attention, of)
        for key, value in before.items():
            setattr(attention, key, value)
    return reached


def spied(attention: Any, of: Any) -> bool:
    """Whether a call reaches upstream's forward as it was made."""
    replacements: Any = importlib.import_module("ascend_patches.patches.mla_multistream.replacements")
    upstream, calls = replacements.upstream_attention_forward, []
    replacements.upstream_attention_forward = lambda *arguments: calls.append(arguments)
    positions, states, cache = torch.zeros(4).long().npu(), mla.hidden(4, torch.bfloat16), mla.caches(torch.bfloat16)
    try:
        with torch.no_grad():
            attention(positions, states, kv_cache=cache, attn_metadata=of)
    finally:
        replacements.upstream_attention_forward = upstream
    given = (attention, positions, states, cache, of)
    return len(calls) == 1 and all(one is other for one, other in zip(calls[0], given, strict=True))


def changed_by_a_step(attention: Any) -> list[str]:
    before = {**vars(attention), **vars(attention.mla_attn.impl)}
    mla.step(attention, mla.metadata())
    after = {**vars(attention), **vars(attention.mla_attn.impl)}
    return [key for key in before.keys() | after.keys() if before.get(key, before) is not after.get(key, after)]


WEIGHTS = {
    "of one byte each, too large": ((17 * 2**20,), torch.int8),
    "of two bytes each, too large": ((9 * 2**20,), torch.bfloat16),
    "of two bytes each, just right": ((8 * 2**20,), torch.bfloat16),
    "of four bytes each, small": ((1000,), torch.float32),
    "empty": ((0, 64), torch.bfloat16),
}


def prefetched(shape: tuple[int, ...], dtype: torch.dtype) -> list[int]:
    from ascend_patches.npu.mla_prefetch import LARGEST_OUTPUT_PROJECTION, prefetch

    weight = torch.zeros(shape, dtype=dtype).npu()
    with emulated_npu.trace() as trace:
        prefetch(weight, weight, LARGEST_OUTPUT_PROJECTION)
    return [event.detail["arguments"]["max_size"] for event in trace.events]


def text_with_code_of(module: str) -> str:
    """What a layer would say of the code if a module of the replacement had another."""
    return name_of(b"another" if name == module else code_of(name) for name in CODE)


def mutant(attention: Any, module: str, text: str, instead: str) -> dict[str, Any]:
    """What a step and a graph would be with one mistake in a replacement."""
    kind, impl = type(attention), type(attention.mla_attn.impl)
    right = kind.forward, impl.forward
    originals = importlib.import_module("ascend_patches.patches.mla_multistream.replacements")
    decode = mutated("mla_decode", text, instead) if module == "mla_decode" else None
    wrong = mutated("replacements", text, instead) if decode is None else mutated("replacements", "", "")
    vars(wrong).update({key: value for key, value in vars(originals).items() if key.startswith("upstream_")})
    if decode is not None:
        vars(wrong)["mla_decode"] = decode
    kind.forward, impl.forward = vars(wrong)["attention_forward"], vars(wrong)["impl_forward"]
    try:
        return {"eager": seen(attention), "compiled": compiled(attention, mla.metadata())}
    finally:
        kind.forward, impl.forward = right


def mutated(name: str, text: str, instead: str) -> ModuleType:
    found = importlib.import_module(f"ascend_patches.patches.mla_multistream.{name}")
    source = Path(str(found.__file__)).read_text("utf-8")
    if text and text not in source:
        raise LookupError(f"{name}.py has no {text!r}: the mutant is out of date")
    module = ModuleType(f"mutant_{name}")
    sys.modules[module.__name__] = module
    exec(compile(source.replace(text, instead) if text else source, f"{name}.py", "exec"), vars(module))
    return module


if __name__ == "__main__":
    main()
