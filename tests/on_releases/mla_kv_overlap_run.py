"""Run on one vllm-ascend from 0.13: the preparation of MLA decode before and after mla-kv-overlap.

Prints one JSON object.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import emulated_npu
from ascend_patches import apply_patches, revert_patches
from ascend_patches.patches.mla_kv_overlap import mla_impl as mla
from emulated_npu import Trace
from tools.mla_steps import order, recorded

# Mistakes that keep every number: name -> (text of the replacement, what stands there instead).
MUTANTS = {
    "started too early": ("    second.wait_event(main.record_event())\n", ""),
    "never joined": ("        main.wait_event(second.record_event())", "        pass"),
    "joined before the work": (
        "    try:\n        yield second\n    finally:\n        main.wait_event(second.record_event())",
        "    e = second.record_event()\n    try:\n        yield second\n    finally:\n        main.wait_event(e)",
    ),
    "joined on success only": (
        "    try:\n        yield second\n    finally:\n        main",
        "    if True:\n        yield second\n        main",
    ),
    "inputs not kept": ("        _keep_for(second, kv, cos, sin, slots)\n", ""),
    "results not kept": ("    _keep_for(torch.npu.current_stream(), k_pe, k_nope)\n", ""),
    "on one stream": ("        with torch.npu.stream(second):", "        if True:"),
}


class FailedError(Exception):
    """What a projection or a cache raises in these tests."""


def main() -> None:
    torch.set_num_threads(1)
    impl = mla.make()
    report: dict[str, Any] = {"before": seen(impl), "left alone before": left_alone()}
    status = apply_patches()
    (patch,) = (patch for patch in status["patches"] if patch["name"] == "mla-kv-overlap")
    report |= {"state": patch["state"], "after": seen(impl), "left alone after": left_alone()}
    report |= {"captured": captured(impl), "failing": failing(), "mutants": {n: mutant(*c) for n, c in MUTANTS.items()}}
    report |= {"attributes": sorted(vars(impl).keys() ^ vars(mla.make()).keys()), "streams": streams(impl)}
    options = importlib.import_module("ascend_patches.patches.mla_kv_overlap.options").OPTIONS
    report["prefetch"] = {}
    for wanted in (False, True):
        options.prefetch = wanted
        report["prefetch"][str(wanted)] = [line for line in lines(impl) if "prefetch" in line]
    report["prefetch"]["of context parallelism"] = [
        line for line in lines(mla.make(kind=parallel())) if "prefetch" in line
    ]
    revert_patches()
    report["after undo"] = seen(impl)
    print(json.dumps(report))


def seen(impl: Any) -> dict[str, Any]:
    """Two steps, one after the other: their order, what is in no order, and every number."""
    step = mla.Step()
    with emulated_npu.trace() as trace:
        for _ in range(2):
            step.kv.add_(0)  # what came before, on the main stream
            step.run(impl)
        step.q_c + step.q_c  # what comes after
    return {
        "order": lines(impl),
        "races": len(trace.races()),
        "joined": joined(trace),
        "numbers": {
            f"{decodes} {dtype}": digests(mla.Step(dtype, decodes).run(mla.make(dtype)))
            for dtype in (torch.float32, torch.bfloat16)
            for decodes in (mla.TOKENS, mla.TOKENS - 1)
        },
    }


def lines(impl: Any) -> list[str]:
    return [str(line) for line in recorded.of_impl(impl, mla.Step())]


def joined(trace: Trace) -> bool:
    """Whether the last operation comes after everything that was put on any stream."""
    *earlier, last = trace.events
    return all(trace.ordered(event, last) for event in earlier)


def digests(results: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(bits(tensor)).hexdigest()[:16] for name, tensor in results.items()}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def captured(impl: Any) -> dict[str, Any]:
    step, graph = mla.Step(), torch.npu.NPUGraph()
    with emulated_npu.trace() as trace, torch.npu.graph(graph):
        step.run(impl)
        step.q_c + step.q_c
    inside = [event for event in trace.events if not event.op.startswith("graph.")]
    main = inside[0].stream
    read = order.read(Trace(inside), step.names(impl))
    return {
        "order": [str(line) for line in read][:-1],
        "streams": len({event.stream for event in inside}),
        "joined": all(trace.ordered(event, inside[-1]) for event in inside[:-1]),
        "left on the capturing stream": inside[-1].stream == main,
    }


def failing() -> dict[str, Any]:
    """What happens on the streams if something raises: name -> outcome."""
    return {
        "the cache": failed("exec_kv_decode"),
        "the projection": failed("_q_proj_and_k_up_proj"),
        "the rope": failed("rope_single"),
    }


def failed(method: str) -> dict[str, Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise FailedError

    replaced: dict[str, Any] = {method: fail}
    step, impl = mla.Step(), mla.make(**replaced)
    with emulated_npu.trace() as trace:
        try:
            step.run(impl)
            raised = False
        except FailedError:
            raised = True
        step.q_c + step.q_c
    return {"raised": raised, "joined": joined(trace), "stream after": trace.events[-1].stream}


def parallel() -> type:
    """A subclass as context parallelism has one."""
    from vllm_ascend.attention.mla_v1 import AscendMLAImpl

    class Parallel(AscendMLAImpl):
        pass

    return Parallel


def left_alone() -> dict[str, list[str]]:
    """What is not plain decode: name -> the order of a step."""
    cases = {
        "a subclass": mla.make(kind=parallel()),
        "prefill context parallelism": mla.make(pcp_enabled=True),
        "a quantised cache": mla.make(fa_quant_layer=True, fak_descale_reciprocal=None),
    }
    found = {name: lines(impl) for name, impl in cases.items()}
    if "written_kv" in importlib.import_module("inspect").signature(type(mla.make()).mla_preprocess_decode).parameters:
        step, impl = mla.Step(), mla.make()
        with emulated_npu.trace() as trace:
            step.run(impl, written_kv=(step.ropes[0], step.latents[0]))
        found["written already"] = [str(line) for line in order.read(trace, step.names(impl))]
    return found


def streams(impl: Any) -> int:
    """How many streams the steps of two layers are on."""
    with emulated_npu.trace() as trace:
        for layer in (impl, mla.make()):
            mla.Step().run(layer)
    return len({event.stream for event in trace.events})


def mutant(text: str, instead: str) -> dict[str, Any]:
    """What would be seen with one mistake in the replacement."""
    kind = type(mla.make())
    right = kind.mla_preprocess_decode
    originals = importlib.import_module("ascend_patches.patches.mla_kv_overlap.replacements")
    source = Path(str(originals.__file__)).read_text("utf-8")
    if text not in source:
        raise LookupError(f"mla_kv_overlap.py has no {text!r}: the mutant is out of date")
    wrong = ModuleType("mutant")
    sys.modules["mutant"] = wrong
    exec(compile(source.replace(text, instead), "mutant.py", "exec"), vars(wrong))
    vars(wrong).update({key: value for key, value in vars(originals).items() if key.startswith("upstream_")})
    chosen: Callable[..., Any] = originals.preprocess_decode
    if right.__code__ is originals.preprocess_decode_or_take_written.__code__:
        chosen = originals.preprocess_decode_or_take_written
    kind.mla_preprocess_decode = vars(wrong)[chosen.__name__]
    try:
        return {**seen(mla.make()), "failing": failing()}
    finally:
        kind.mla_preprocess_decode = right


if __name__ == "__main__":
    main()
