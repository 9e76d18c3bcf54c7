"""Measures, in this environment, what mla-kv-overlap does to the preparation of a decode step: eager and as a graph."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch_npu

from ascend_patches import apply_patches, revert_patches
from ascend_patches.patches.mla_kv_overlap import mla_impl as mla

Action = Callable[[], object]


def main() -> None:
    options = parse()
    # In case vLLM's plugin activates the toolkit while upstream is imported.
    os.environ.setdefault("ASCEND_PATCHES_ENABLE", "mla-kv-overlap")
    torch.npu.set_device(0)
    patch = next(patch for patch in apply_patches()["patches"] if patch["name"] == "mla-kv-overlap")
    if patch["state"] not in ("applied", "waiting"):
        raise SystemExit(f"bench_mla: mla-kv-overlap is {patch['state']} here: {patch['reason']}")
    if hasattr(torch_npu, "__file__") and "emulated" in str(torch_npu.__file__):
        print("this is the emulated NPU: the times are the host's, and say nothing of a real one")
    print(f"{torch.npu.get_device_name(0)}; {options.heads} heads")
    print(f"microseconds for one layer, median of {options.rounds} rounds")
    print(f"{'tokens':>6} {'':>8} {'upstream':>10} {'overlap':>10} {'ratio':>7}")
    sizes = mla.Sizes(options.heads, options.query_rank, 128, 128, 7168, block=128, blocks=64)
    layer = mla.make(sizes=sizes)
    for tokens in options.tokens:
        step = mla.Step(decodes=tokens, tokens=tokens, sizes=sizes)
        for way, prepare in (("eager", partial(eagerly, layer, step)), ("graph", partial(captured, layer, step))):
            try:
                without, within = compare(prepare, options)
            except RuntimeError as error:
                print(f"{tokens:>6} {way:>8} not measured: {str(error).splitlines()[0]}")
                continue
            print(f"{tokens:>6} {way:>8} {without:>10.1f} {within:>10.1f} {within / without:>7.3f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_mla --here", description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 8, 32, 64], help="decode tokens of a step")
    parser.add_argument("--heads", type=int, default=32, help="query heads of one NPU, such as 128 divided by TP")
    parser.add_argument("--query-rank", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=20, help="how often upstream and patched take turns")
    parser.add_argument("--repeats", type=int, default=50, help="steps in a row for one time")
    return parser.parse_args()


def eagerly(layer: object, step: mla.Step) -> Action:
    return partial(step.run, layer)


def captured(layer: object, step: mla.Step) -> Action:
    """The step as a graph, captured with whatever is applied now."""
    step.run(layer)
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        step.run(layer)
    return graph.replay


def compare(prepare: Callable[[], Action], options: argparse.Namespace) -> tuple[float, float]:
    """Upstream and patched in turns, so that what changes meanwhile changes both."""
    without, within = [], []
    revert_patches()
    upstream = prepare()
    apply_patches()
    patched = prepare()
    revert_patches()
    for _ in range(options.rounds):
        without.append(time_of(upstream, options.repeats))
        apply_patches()
        within.append(time_of(patched, options.repeats))
        revert_patches()
    return statistics.median(without), statistics.median(within)


def time_of(action: Action, repeats: int) -> float:
    """Microseconds on the device for one of many in a row."""
    begin, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    action()
    begin.record()
    for _ in range(repeats):
        action()
    end.record()
    torch.npu.synchronize()
    return float(begin.elapsed_time(end)) * 1000 / repeats


if __name__ == "__main__":
    main()
